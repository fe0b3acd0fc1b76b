"""Who reaches a worker, and how."""

from __future__ import annotations

from tests.support import sample

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.object_names import restore_name, restore_service_name, worker_name
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.reconcile.workload.worker_network import (
    build_network_policy,
    build_restore_policy,
    build_restore_service,
    build_service,
    node_ports,
    restored_uri,
)

BACKUP = sample.backup()
UID = BACKUP["metadata"]["uid"]
SELECTOR = {names.LABEL_COMPONENT: "worker", names.LABEL_BACKUP_UID: UID}
SETTINGS = Settings(
    worker_image="image",
    operator_namespace="system",
    gateway_selector={"app": "gateway"},
    controller_selector={"app": "controller"},
)


def test_a_service_has_one_port_a_disk() -> None:
    service = build_service(BACKUP, {"a": "b"}, 3)
    spec = service["spec"]
    assert (spec["type"], spec["externalTrafficPolicy"], spec["publishNotReadyAddresses"]) == (
        "NodePort",
        "Local",
        True,
    )
    assert spec["selector"] == SELECTOR
    assert [(p["port"], p["targetPort"]) for p in spec["ports"]] == [(10809 + i, 10809 + i) for i in range(3)]
    assert len({p["name"] for p in spec["ports"]}) == 3
    assert service["metadata"]["name"] == worker_name("b1", UID)
    assert service["metadata"]["ownerReferences"][0]["uid"] == UID


def test_a_backup_that_begins_with_a_digit() -> None:
    backup = sample.backup("2024-db")
    assert build_service(backup, {}, 1)["metadata"]["name"].startswith("b-2024-db-bkp-")
    assert build_network_policy(backup, {}, 1, [], SETTINGS)["metadata"]["name"].startswith("2024-db-bkp-")


def test_node_ports_are_read_in_the_disks_order() -> None:
    service = build_service(BACKUP, {}, 3)
    for port, chosen in zip(service["spec"]["ports"], (31003, 31001, 31002), strict=True):
        port["nodePort"] = chosen
    service["spec"]["ports"].reverse()
    assert node_ports(service) == (31003, 31001, 31002)


def test_a_service_that_has_no_ports_yet() -> None:
    assert node_ports(build_service(BACKUP, {}, 2)) == ()
    assert node_ports({"spec": {}}) == ()


def test_the_policy_admits_the_appliance_to_the_exports_only() -> None:
    policy = build_network_policy(BACKUP, {}, 3, ["10.0.0.0/8", "192.168.7.1/32"], SETTINGS)
    spec = policy["spec"]
    assert spec["podSelector"]["matchLabels"] == SELECTOR
    assert spec["policyTypes"] == ["Ingress"]
    exports, status = spec["ingress"]
    assert exports["ports"] == [{"protocol": "TCP", "port": 10809, "endPort": 10811}]
    assert [peer["ipBlock"]["cidr"] for peer in exports["from"] if "ipBlock" in peer] == [
        "10.0.0.0/8",
        "192.168.7.1/32",
    ]
    assert {"podSelector": {"matchLabels": SELECTOR}} in exports["from"]
    assert status["ports"] == [{"protocol": "TCP", "port": names.STATUS_PORT}]
    peers = [(p["namespaceSelector"]["matchLabels"], p["podSelector"]["matchLabels"]["app"]) for p in status["from"]]
    assert peers == [({"kubernetes.io/metadata.name": "system"}, app) for app in ("gateway", "controller")]


def test_without_networks_the_exports_are_open_but_nothing_else_is() -> None:
    exports, status = build_network_policy(BACKUP, {}, 1, [], SETTINGS)["spec"]["ingress"]
    assert "from" not in exports
    assert exports["ports"] == [{"protocol": "TCP", "port": 10809, "endPort": 10809}]
    assert status["from"]


def test_without_selectors_the_status_port_is_open() -> None:
    _, status = build_network_policy(BACKUP, {}, 1, [], Settings(worker_image="image"))["spec"]["ingress"]
    assert "from" not in status


def test_the_exports_of_a_restore() -> None:
    restore = sample.restore("2024-look")
    uid = restore["metadata"]["uid"]
    service = build_restore_service(restore, (0, 3))
    assert service["metadata"]["name"] == restore_service_name("2024-look", uid)
    assert service["metadata"]["name"].startswith("r-2024-look-restore-")
    assert [port["port"] for port in service["spec"]["ports"]] == [10809, 10812]
    address = f"{service['metadata']['name']}.shop.svc:10812/disk-3"
    assert restored_uri(restore, 3, tls=False) == f"nbd://{address}"
    assert restored_uri(restore, 3, tls=True) == f"nbds://qemu@{address}"
    policy = build_restore_policy(restore, (0, 3), ["192.0.2.0/24"], SETTINGS)
    assert policy["metadata"]["name"] == restore_name("2024-look", uid)
    selector = {names.LABEL_COMPONENT: "restore", names.LABEL_RESTORE: "2024-look", names.LABEL_EXPORT: "true"}
    assert policy["spec"]["podSelector"]["matchLabels"] == service["spec"]["selector"] == selector
    exports, status = policy["spec"]["ingress"]
    assert exports["from"] == [{"podSelector": {}}, {"ipBlock": {"cidr": "192.0.2.0/24"}}]
    assert [peer["podSelector"]["matchLabels"] for peer in status["from"]] == [{"app": "controller"}]


def test_the_longest_name_of_a_restore() -> None:
    for name in ("1" + "x" * 62, "x" * 63):
        restore = sample.restore(name)
        service = build_restore_service(restore, (0,))["metadata"]["name"]
        assert len(service) <= 63
        assert service[0].isalpha()
