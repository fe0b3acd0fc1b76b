"""Where the gateway and REST are reached."""

from __future__ import annotations

from sendense_operator.gateway.rest.settings import RestSettings

from .conftest import Render, environment, one


def test_node_port(render: Render) -> None:
    values = {"gateway": {"service": {"type": "NodePort", "nodePort": 30882, "annotations": {"a": "b"}}}}
    service = one(render(values), "Service", "-gateway")
    assert service["spec"]["type"] == "NodePort"
    assert service["spec"]["ports"][0]["nodePort"] == 30882
    assert service["metadata"]["annotations"] == {"a": "b"}


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


def test_a_proxy_in_front_of_rest(render: Render) -> None:
    ingress = {"enabled": True, "host": "backup.example", "tlsSecretName": "front"}
    route = {"enabled": True, "parentRefs": [{"name": "public"}]}
    objects = render({"rest": {"ingress": ingress, "gateway": route}})
    service = one(objects, "Service", "-api")
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    (rule,) = one(objects, "Ingress", "-api")["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"] == {"service": {"name": name, "port": {"number": port}}}
    assert one(objects, "HTTPRoute", "-api")["spec"]["rules"] == [{"backendRefs": [{"name": name, "port": port}]}]
