"""Who may reach the programs, and what they may reach."""

from __future__ import annotations

from tests.support.objects import Obj

from sendense_operator.api.v1alpha1 import names
from sendense_operator.gateway.settings import Settings as GatewaySettings

from .conftest import Render, all_of, one, selector_of, template_of


def test_network_policies_let_in_who_has_to_come(render: Render) -> None:
    peers: list[Obj] = [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
    prometheus: list[Obj] = [{"namespaceSelector": {}}]
    objects = render({"networkPolicy": {"gatewayFrom": peers, "metricsFrom": prometheus}})
    assert one(objects, "NetworkPolicy", "-controller")["spec"]["ingress"] == [
        {"ports": [{"port": "health"}], "from": prometheus}
    ]
    assert one(objects, "NetworkPolicy", "-gateway")["spec"]["ingress"] == [
        {"ports": [{"port": "callbacks"}], "from": peers},
        {"ports": [{"port": "status"}], "from": [{"podSelector": {"matchLabels": selector_of(objects, "controller")}}]},
    ]
    assert one(objects, "NetworkPolicy", "-api")["spec"]["ingress"] == [
        {"ports": [{"port": "api"}]},
        {"ports": [{"port": "metrics"}], "from": prometheus},
    ]
    for name in ("controller", "gateway", "api"):
        policy = one(objects, "NetworkPolicy", f"-{name}")["spec"]
        assert policy["podSelector"]["matchLabels"].items() <= template_of(objects, name)["metadata"]["labels"].items()
        named = {port["name"] for port in template_of(objects, name)["spec"]["containers"][0]["ports"]}
        assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} <= named


def test_metrics_are_closed_unless_somebody_is_named(render: Render) -> None:
    objects = render()
    assert one(objects, "NetworkPolicy", "-controller")["spec"]["ingress"] == []
    assert one(objects, "NetworkPolicy", "-api")["spec"]["ingress"] == [{"ports": [{"port": "api"}]}]


def test_network_policies_let_out_what_has_to_go(render: Render) -> None:
    appliances = [{"ipBlock": {"cidr": "198.51.100.0/24"}}]
    objects = render({"networkPolicy": {"egress": {"appliancesTo": appliances, "apiServerPorts": [6443]}}})
    dns = {"ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]}
    api = {"ports": [{"port": 6443, "protocol": "TCP"}]}
    workers = {
        "ports": [{"port": names.STATUS_PORT, "protocol": "TCP"}],
        "to": [
            {
                "namespaceSelector": {},
                "podSelector": {"matchLabels": {names.LABEL_COMPONENT: names.COMPONENT_WORKER}},
            }
        ],
    }
    gateways = {
        "ports": [{"port": GatewaySettings.model_fields["status_port"].default, "protocol": "TCP"}],
        "to": [{"podSelector": {"matchLabels": selector_of(objects, "gateway")}}],
    }
    controller = one(objects, "NetworkPolicy", "-controller")["spec"]
    assert controller["policyTypes"] == ["Ingress", "Egress"]
    assert controller["egress"] == [dns, api, workers, gateways, {"to": appliances}]
    assert one(objects, "NetworkPolicy", "-gateway")["spec"]["egress"] == [dns, api, workers]
    assert one(objects, "NetworkPolicy", "-api")["spec"]["egress"] == [dns, api]
    assert {} in one(render(), "NetworkPolicy", "-controller")["spec"]["egress"], "appliances may be anywhere"


def test_network_policies_can_be_left_out(render: Render) -> None:
    assert not all_of(render({"networkPolicy": {"enabled": False}}), "NetworkPolicy")
    objects = render({"networkPolicy": {"egress": {"enabled": False}}})
    for policy in all_of(objects, "NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        assert "egress" not in policy["spec"]
