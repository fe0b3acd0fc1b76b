"""The programs accept the settings that the chart makes of its values; helm refuses wrong values by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.support.objects import Obj

from sendense_operator.api.v1alpha1.pod_template import PodTemplate
from sendense_operator.gateway.settings import Settings as GatewaySettings
from sendense_operator.reconcile.state.settings import Settings

from .conftest import Render, environment, one, selector_of, template_of


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
    assert settings.controller_selector.items() <= template_of(objects, "controller")["metadata"]["labels"].items()
    assert settings.gateway_selector.items() <= template_of(objects, "gateway")["metadata"]["labels"].items()
    (container,) = template_of(objects, "controller")["spec"]["containers"]
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


def test_the_controller_finds_each_gateways_status(render: Render) -> None:
    objects = render()
    settings = Settings.from_environment(environment(one(objects, "Deployment", "-controller")))
    gateway = GatewaySettings.from_environment(environment(one(objects, "Deployment", "-gateway")))
    service = one(objects, "Service", "-sightings")
    assert settings.gateway_status_host == f"{service['metadata']['name']}.ops.svc"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == selector_of(objects, "gateway")
    assert settings.gateway_status_port == gateway.status_port == service["spec"]["ports"][0]["port"]
    (container,) = template_of(objects, "gateway")["spec"]["containers"]
    assert {"name": "status", "containerPort": gateway.status_port} in container["ports"]


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
