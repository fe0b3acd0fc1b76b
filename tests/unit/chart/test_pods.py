"""The programs' settings, and how their pods are fenced in."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.objects import Obj

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.pod_template import PodTemplate
from sendense_operator.gateway.rest.settings import RestSettings
from sendense_operator.gateway.settings import Settings as GatewaySettings
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.vma.callback_keys import FOLDER

from .conftest import CHART, CHECKOUT, Render, all_of, environment, one

PROGRAMS = {"controller": "controller", "gateway": "gateway", "api": "rest"}
"""By component, which the names of objects end in: the program, and the name of its values."""


def _pod(objects: list[Obj], program: str) -> Obj:
    template: Obj = one(objects, "Deployment", f"-{program}")["spec"]["template"]
    return template


@pytest.mark.parametrize("program", PROGRAMS)
def test_pods_fit_pod_security_restricted(render: Render, program: str) -> None:
    pod = _pod(render(), program)["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert all(set(volume) <= {"name", "emptyDir", "secret"} for volume in pod["volumes"])
    assert container["args"] == [PROGRAMS[program]]
    assert container["resources"]["requests"]
    assert container["resources"]["limits"]["memory"]


def test_tokens_only_where_a_program_needs_one(render: Render) -> None:
    for account in all_of(render(), "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    for program in PROGRAMS:
        assert _pod(render(), program)["spec"]["automountServiceAccountToken"] is True


@pytest.mark.parametrize("program", PROGRAMS)
def test_selectors_find_the_pods(render: Render, program: str) -> None:
    objects = render({"commonLabels": {"team": "backup"}, PROGRAMS[program]: {"podLabels": {"tier": "x"}}})
    labels = _pod(objects, program)["metadata"]["labels"]
    assert one(objects, "Deployment", f"-{program}")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert labels["team"] == "backup"
    assert labels["tier"] == "x"


def test_the_controller_accepts_what_the_chart_tells_it(render: Render) -> None:
    values: Obj = {
        "watchNamespaces": ["team-a", "team-b"],
        "imagePullSecrets": [{"name": "registry"}],
        "image": {"repository": "registry.example/backup", "tag": "1.2", "pullPolicy": "Always"},
        "worker": {
            "resources": {"limits": {"memory": "2Gi"}},
            "maxMemory": "6Gi",
            "networkPolicies": False,
            "priorityClassName": "low",
        },
        "controller": {"nodeLostSeconds": 77},
        "gateway": {"externalURL": "http://gateway.example:30882/"},
        "logLevel": "DEBUG",
        "logFormat": "text",
    }
    objects = render(values)
    settings = Settings.from_environment(environment(one(objects, "Deployment", "-controller")))
    assert settings.worker_image == "registry.example/backup:1.2"
    assert settings.image_pull_policy == "Always"
    assert settings.image_pull_secrets == ("registry",)
    assert settings.namespaces == ("team-a", "team-b")
    assert settings.worker_resources["limits"] == {"memory": "2Gi"}
    assert settings.worker_max_memory == "6Gi"
    assert settings.worker_priority_class == "low"
    assert settings.network_policies is False
    assert settings.node_lost_seconds == 77
    assert settings.gateway_url == "http://gateway.example:30882"
    assert (settings.log_level, settings.log_format) == ("DEBUG", "text")
    assert settings.controller_selector.items() <= _pod(objects, "controller")["metadata"]["labels"].items()
    assert settings.gateway_selector.items() <= _pod(objects, "gateway")["metadata"]["labels"].items()
    (container,) = _pod(objects, "controller")["spec"]["containers"]
    assert container["ports"][0]["containerPort"] == settings.health_port


WORKER: Obj = {
    "podLabels": {"team": "backup"},
    "podAnnotations": {"example.com/note": 'it\'s $(HOME) "quoted" {{ $ }} <&>'},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "backup", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
}


def test_the_controller_reads_the_chart_s_pod_template(render: Render) -> None:
    variables = environment(one(render({"worker": WORKER}), "Deployment", "-controller"))
    # as the kubelet does with a variable's value
    variables = {name: value.replace("$$", "$") for name, value in variables.items()}
    template = Settings.from_environment(variables).pod_defaults
    assert template.labels == WORKER["podLabels"]
    assert template.annotations == WORKER["podAnnotations"]
    assert template.node_selector == WORKER["nodeSelector"]
    assert [toleration.key for toleration in template.tolerations] == ["backup"]
    assert template.affinity is not None
    assert template.affinity.pod_anti_affinity is not None
    assert template.resources is not None
    assert template.resources.limits == {"memory": "1Gi"}


def test_without_values_pods_are_as_they_were(render: Render) -> None:
    settings = Settings.from_environment(environment(one(render(), "Deployment", "-controller")))
    assert settings.worker_pod_template == PodTemplate()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("podLabels", {"backup.sendense.io/backup": "x"}),
        ("podLabels", {"app.kubernetes.io/component": "gateway"}),
        ("podLabels", {"team": "x" * 64}),
        ("podAnnotations", {"backup.sendense.io/task": "{}"}),
        ("podAnnotations", {"container.apparmor.security.beta.kubernetes.io/worker": "unconfined"}),
        ("affinity", {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}),
        ("tolerations", [{"key": "a"}] * 33),
    ],
)
def test_the_chart_refuses_what_would_never_work(refusal: Callable[[Obj], str], field: str, value: Any) -> None:
    assert f"worker/{field}" in refusal({"worker": {field: value}})


def test_the_gateway_accepts_what_the_chart_tells_it(render: Render) -> None:
    objects = render({"watchNamespaces": ["team-a"], "gateway": {"holdSeconds": 30, "drainSeconds": 7}})
    deployment = one(objects, "Deployment", "-gateway")
    settings = GatewaySettings.from_environment(environment(deployment))
    assert settings.namespaces == ("team-a",)
    assert (settings.hold_seconds, settings.drain_seconds) == (30, 7)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["ports"][0]["containerPort"] == settings.listen_port
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 37


def test_without_an_external_url_the_appliances_are_told_the_service(render: Render) -> None:
    objects = render()
    service = one(objects, "Service", "-gateway")
    expected = f"http://{service['metadata']['name']}.ops.svc:{service['spec']['ports'][0]['port']}"
    assert environment(one(objects, "Deployment", "-controller"))["SENDENSE_GATEWAY_URL"] == expected


def test_a_digest_wins_over_the_tag(render: Render) -> None:
    digest = "sha256:" + "a" * 64
    objects = render({"image": {"repository": "r.example/b", "tag": "x", "digest": digest}})
    for program in PROGRAMS:
        assert _pod(objects, program)["spec"]["containers"][0]["image"] == f"r.example/b@{digest}"
    assert environment(one(objects, "Deployment", "-controller"))["SENDENSE_WORKER_IMAGE"] == f"r.example/b@{digest}"


def test_the_gateway_never_has_fewer_pods_than_wanted(render: Render) -> None:
    objects = render()
    gateway = one(objects, "Deployment", "-gateway")
    assert gateway["spec"]["replicas"] == 2
    assert gateway["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_node_port(render: Render) -> None:
    values = {"gateway": {"service": {"type": "NodePort", "nodePort": 30882, "annotations": {"a": "b"}}}}
    service = one(render(values), "Service", "-gateway")
    assert service["spec"]["type"] == "NodePort"
    assert service["spec"]["ports"][0]["nodePort"] == 30882
    assert service["metadata"]["annotations"] == {"a": "b"}


def test_network_policies_let_in_who_has_to_come(render: Render) -> None:
    peers: list[Obj] = [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
    prometheus: list[Obj] = [{"namespaceSelector": {}}]
    objects = render({"networkPolicy": {"gatewayFrom": peers, "metricsFrom": prometheus}})
    assert one(objects, "NetworkPolicy", "-controller")["spec"]["ingress"] == [
        {"ports": [{"port": "health"}], "from": prometheus}
    ]
    assert one(objects, "NetworkPolicy", "-gateway")["spec"]["ingress"] == [
        {"ports": [{"port": "callbacks"}], "from": peers},
        {"ports": [{"port": "status"}], "from": [{"podSelector": {"matchLabels": _selector(objects, "controller")}}]},
    ]
    assert one(objects, "NetworkPolicy", "-api")["spec"]["ingress"] == [
        {"ports": [{"port": "api"}]},
        {"ports": [{"port": "metrics"}], "from": prometheus},
    ]
    for name in ("controller", "gateway", "api"):
        policy = one(objects, "NetworkPolicy", f"-{name}")["spec"]
        assert policy["podSelector"]["matchLabels"].items() <= _pod(objects, name)["metadata"]["labels"].items()
        named = {port["name"] for port in _pod(objects, name)["spec"]["containers"][0]["ports"]}
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
        "to": [{"podSelector": {"matchLabels": _selector(objects, "gateway")}}],
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


@pytest.mark.parametrize("own", ["", "mine"])
def test_controller_and_gateway_share_one_callback_key_and_nobody_else_has_it(render: Render, own: str) -> None:
    objects = render({"gateway": {"callbackKey": {"existingSecret": own}}})
    if own:
        assert not [item for item in all_of(objects, "Secret") if item["metadata"]["name"].endswith("-callbacks")]
    else:
        secret = one(objects, "Secret", "-callbacks")
        own = secret["metadata"]["name"]
        assert len(b64decode(secret["data"]["key"])) >= 32
        assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    for program in PROGRAMS:
        pod = _pod(objects, program)["spec"]
        names = [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
        mount = {"name": "callback-key", "mountPath": FOLDER, "readOnly": True}
        assert (own in names) is (program != "api")
        assert (mount in pod["containers"][0]["volumeMounts"]) is (program != "api")


def _selector(objects: list[Obj], program: str) -> Obj:
    labels: Obj = one(objects, "Deployment", f"-{program}")["spec"]["selector"]["matchLabels"]
    return labels


def test_the_controller_finds_each_gateways_status(render: Render) -> None:
    objects = render()
    settings = Settings.from_environment(environment(one(objects, "Deployment", "-controller")))
    gateway = GatewaySettings.from_environment(environment(one(objects, "Deployment", "-gateway")))
    service = one(objects, "Service", "-sightings")
    assert settings.gateway_status_host == f"{service['metadata']['name']}.ops.svc"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == _selector(objects, "gateway")
    assert settings.gateway_status_port == gateway.status_port == service["spec"]["ports"][0]["port"]
    assert {"name": "status", "containerPort": gateway.status_port} in _pod(objects, "gateway")["spec"]["containers"][
        0
    ]["ports"]


def test_definitions_are_the_generated_ones_and_outlive_the_release(render: Render) -> None:
    definitions = all_of(render(), "CustomResourceDefinition")
    assert len(definitions) == len(list((CHECKOUT / "crds").glob("*.yaml")))
    for definition in definitions:
        assert definition["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        name = f"{definition['spec']['group']}_{definition['spec']['names']['plural']}.yaml"
        copy = CHART / "files" / "crds" / name
        assert copy.read_text(encoding="utf-8") == (CHECKOUT / "crds" / name).read_text(encoding="utf-8")
    assert not all_of(render({"crds": {"install": False}}), "CustomResourceDefinition")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"gatway": {}}, "gatway"),
        ({"controller": {"replica": 2}}, "replica"),
        ({"controller": {"replicas": -1}}, "/controller/replicas"),
        ({"gateway": {"externalURL": "gateway.example"}}, "/gateway/externalURL"),
        ({"gateway": {"service": {"type": "nodeport"}}}, "/gateway/service/type"),
        ({"gateway": {"service": {"nodePort": 30882}}}, "gateway.service.nodePort needs"),
        ({"gateway": {"holdSeconds": 300}}, "terminationGracePeriodSeconds must be longer"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({"image": {"pullPolicy": "always"}}, "/image/pullPolicy"),
        ({"watchNamespaces": ["Team A"]}, "/watchNamespaces/0"),
        ({"worker": {"resources": {"limits": {"memory": "lots"}}}}, "/worker/resources/limits/memory"),
        ({"worker": {"maxMemory": "lots"}}, "/worker/maxMemory"),
        ({"logLevel": "debug"}, "/logLevel"),
        ({"logFormat": "yaml"}, "/logFormat"),
        *(
            ({part: {"serviceAccount": {"create": False}}}, f"needs {part}.serviceAccount.name")
            for part in ("controller", "gateway", "rest")
        ),
        ({"rest": {"ingress": {"enabled": True}}}, "rest.ingress.host"),
        ({"rest": {"gateway": {"enabled": True}}}, "rest.gateway.parentRefs"),
        ({"rest": {"service": {"nodePort": 30883}}}, "rest.service.nodePort needs"),
    ],
)
def test_wrong_values_are_refused_by_name(refusal: Callable[[Any], str], values: Obj, named: str) -> None:
    assert named in refusal(values)


def test_long_names_still_fit_where_dns_limits_them(render: Render) -> None:
    for item in render({"fullnameOverride": "x" * 52}):
        if item["kind"] in ("Deployment", "Service", "ServiceAccount"):
            assert len(item["metadata"]["name"]) <= 63


def test_rest_has_pods_and_a_service_of_its_own_and_accepts_its_settings(render: Render) -> None:
    objects = render({"watchNamespaces": ["team-a"], "rest": {"tls": {"secretName": "api-tls"}}})
    deployment = one(objects, "Deployment", "-api")
    settings = RestSettings.from_environment(environment(deployment))
    pod = deployment["spec"]["template"]["spec"]
    assert settings.rest_namespace == "team-a"
    assert [volume["secret"]["secretName"] for volume in pod["volumes"] if volume["name"] == "tls"] == ["api-tls"]
    mounts = pod["containers"][0]["volumeMounts"]
    assert {"name": "tls", "mountPath": settings.rest_tls_folder, "readOnly": True} in mounts
    assert pod["containers"][0]["ports"] == [
        {"name": "api", "containerPort": settings.rest_port},
        {"name": "metrics", "containerPort": settings.rest_metrics_port},
    ]
    assert all(
        pod["containers"][0][f"{kind}Probe"]["httpGet"]["scheme"] == "HTTPS" for kind in ("liveness", "readiness")
    )
    service = one(objects, "Service", "-api")["spec"]
    assert service["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    (port,) = service["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("https", 443, "api")
    assert [p["targetPort"] for p in one(objects, "Service", "-gateway")["spec"]["ports"]] == ["callbacks"]


def test_rest_can_be_left_out(render: Render) -> None:
    objects = render({"rest": {"enabled": False}, "networkPolicy": {"enabled": True}})
    assert not [item for item in objects if item["metadata"]["name"].endswith("-api")]


def test_the_pods_that_serve_the_callbacks_have_nothing_of_rest(render: Render) -> None:
    (container,) = _pod(render(), "gateway")["spec"]["containers"]
    assert not [item for item in container["env"] if "REST" in item["name"]]
    assert [port["name"] for port in container["ports"]] == ["callbacks", "status"]


def test_a_proxy_in_front_of_rest(render: Render) -> None:
    ingress = {"enabled": True, "host": "backup.example", "tlsSecretName": "front"}
    route = {"enabled": True, "parentRefs": [{"name": "public"}]}
    objects = render({"rest": {"ingress": ingress, "gateway": route}})
    service = one(objects, "Service", "-api")
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    (rule,) = one(objects, "Ingress", "-api")["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"] == {"service": {"name": name, "port": {"number": port}}}
    assert one(objects, "HTTPRoute", "-api")["spec"]["rules"] == [{"backendRefs": [{"name": name, "port": port}]}]
