"""How REST gets its certificate: a made one, the user's own, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from tests.support.objects import Obj
from tests.wiring.clock import Clock
from tests.wiring.fakecluster import FakeCluster

from sendense_operator.certificates.subject_names import Server, general_name
from sendense_operator.controller.certificate_renewal import CertificateRenewal
from sendense_operator.gateway.rest.settings import RestSettings
from sendense_operator.gateway.serving import CERTIFICATE, KEY
from sendense_operator.reconcile.state.settings import Settings

from .conftest import Render, all_of, environment, one

MADE: Final = "rel-sendense-backup-api-tls"


def _tls(**values: Any) -> Obj:
    return {"rest": {"tls": values}}


def _settings(objects: list[Obj]) -> Settings:
    return Settings.from_environment(environment(one(objects, "Deployment", "-controller")))


def _volume(objects: list[Obj]) -> Obj | None:
    """Return the certificate's volume in REST's pods."""
    pod = one(objects, "Deployment", "-api")["spec"]["template"]["spec"]
    return next((volume["secret"] for volume in pod["volumes"] if "secret" in volume), None)


def _scheme(objects: list[Obj]) -> tuple[str, str, int]:
    """Of the probes, and name and number of the Service's port."""
    (container,) = one(objects, "Deployment", "-api")["spec"]["template"]["spec"]["containers"]
    (scheme,) = {container[f"{kind}Probe"]["httpGet"]["scheme"] for kind in ("liveness", "readiness")}
    (port,) = one(objects, "Service", "-api")["spec"]["ports"]
    return scheme, port["name"], port["port"]


def test_by_default_the_controller_fills_a_secret_that_the_chart_makes(render: Render) -> None:
    objects = render()
    secret = one(objects, "Secret", "-api-tls")
    settings = _settings(objects)
    assert secret["metadata"]["name"] == settings.certificate_secret == MADE
    assert secret["metadata"]["namespace"] == "ops"
    assert settings.certificate_service == one(objects, "Service", "-api")["metadata"]["name"]
    assert settings.certificate_names == ()
    assert CertificateRenewal.of(settings, FakeCluster(Clock())) is not None
    assert _scheme(objects) == ("HTTPS", "https", 443)
    assert environment(one(objects, "Deployment", "-api"))["SENDENSE_REST_TLS_FOLDER"]


def test_what_the_controller_puts_in_stays_in(render: Render) -> None:
    """Helm, and what compares a cluster with the chart, leave alone what was never in the chart."""
    secret = one(render(), "Secret", "-api-tls")
    assert set(secret) == {"apiVersion", "kind", "metadata", "type"}
    assert secret["type"] == "Opaque"


@pytest.mark.parametrize("values", [{}, _tls(secretName="own")])
def test_rests_pods_get_the_certificate_and_its_key_and_nothing_else(render: Render, values: Obj) -> None:
    volume = _volume(render(values))
    assert volume is not None
    assert volume["items"] == [{"key": name, "path": name} for name in (CERTIFICATE, KEY)]
    assert volume["defaultMode"] == 0o440
    assert "optional" not in volume, "the pod waits for both"


def test_nobody_else_mounts_it(render: Render) -> None:
    objects = render()
    for program in ("controller", "gateway"):
        pod = one(objects, "Deployment", f"-{program}")["spec"]["template"]["spec"]
        assert MADE not in str(pod["volumes"])


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["team-a"]}])
def test_the_controller_may_change_that_secret_and_no_other(render: Render, values: Obj) -> None:
    objects = render(values)
    role = one(objects, "Role", "-certificate")
    assert role["metadata"]["namespace"] == "ops"
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [MADE], "verbs": ["get", "patch"]}
    ]
    binding = one(objects, "RoleBinding", "-certificate")
    account = one(objects, "Deployment", "-controller")["spec"]["template"]["spec"]["serviceAccountName"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "ops"}]
    elsewhere = {
        verb
        for other in all_of(objects, "Role") + all_of(objects, "ClusterRole")
        if other["metadata"]["name"] != role["metadata"]["name"] and "aggregate" not in str(other["metadata"])
        for rule in other["rules"]
        if "secrets" in rule["resources"]
        for verb in rule["verbs"]
    }
    assert elsewhere == {"get", "create"}


@pytest.mark.parametrize(
    ("values", "served"),
    [
        (_tls(secretName="own"), ("HTTPS", "https", 443)),
        (_tls(enabled=False), ("HTTP", "http", 80)),
        ({"rest": {"enabled": False}}, None),
    ],
)
def test_otherwise_no_certificate_is_made(render: Render, values: Obj, served: tuple[str, str, int] | None) -> None:
    objects = render(values)
    assert not [item for item in objects if item["metadata"]["name"].endswith(("-api-tls", "-certificate"))]
    assert _settings(objects).certificate_secret == ""
    assert "CERTIFICATE" not in str(environment(one(objects, "Deployment", "-controller")))
    if served:
        assert _scheme(objects) == served


def test_your_own_secret_is_what_rest_serves_by(render: Render) -> None:
    volume = _volume(render(_tls(secretName="own")))
    assert volume is not None
    assert volume["secretName"] == "own"


def test_without_tls_nothing_of_it_is_left_in_rests_pods(render: Render) -> None:
    objects = render(_tls(enabled=False))
    deployment = one(objects, "Deployment", "-api")
    assert _volume(objects) is None
    assert RestSettings.from_environment(environment(deployment)).rest_tls_folder == ""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert [mount["name"] for mount in container["volumeMounts"]] == ["tmp"]


@pytest.mark.parametrize(("tls", "port"), [({}, 443), ({"enabled": False}, 80)])
def test_a_proxy_in_front_is_led_to_the_port(render: Render, tls: Obj, port: int) -> None:
    proxies = {"ingress": {"enabled": True, "host": "a.example"}, "gateway": {"enabled": True, "parentRefs": [{}]}}
    objects = render({"rest": {"tls": tls, **proxies}})
    (rule,) = one(objects, "Ingress", "-api")["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"]["service"]["port"] == {"number": port}
    (route,) = one(objects, "HTTPRoute", "-api")["spec"]["rules"]
    assert route["backendRefs"][0]["port"] == port


def test_a_port_of_ones_own_wins(render: Render) -> None:
    assert _scheme(render({"rest": {"service": {"port": 8443}}})) == ("HTTPS", "https", 8443)


NAMES: Final = [
    "backup.example",
    "*.apps.example",
    "Host-1",
    "192.0.2.7",
    "2001:db8::1",
    "::ffff:192.0.2.7",
    "3com.example",
]


def test_the_controller_accepts_the_names_that_the_chart_does(render: Render) -> None:
    settings = _settings(render(_tls(names=NAMES)))
    assert settings.certificate_names == tuple(NAMES)
    server = Server(settings.certificate_service, "ops", settings.certificate_names)
    assert {general_name(name) for name in NAMES} <= server.names


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        "https://a.example",
        "a.example:443",
        "a..example",
        "-a",
        "a.",
        "*",
        "192.0.2.256",
        "192.0.2",
        "'",
        "$(A)",
    ],
)
def test_names_that_are_none_are_refused(refusal: Callable[[Obj], str], name: str) -> None:
    assert "/rest/tls/names/0" in refusal(_tls(names=[name]))


@pytest.mark.parametrize(
    ("tls", "named"),
    [
        ({"enabled": False, "secretName": "own"}, "rest.tls.secretName needs"),
        ({"enabled": False, "names": ["a.example"]}, "rest.tls.names are"),
        ({"secretName": "own", "names": ["a.example"]}, "rest.tls.names are"),
        ({"enabled": "no"}, "/rest/tls/enabled"),
        ({"secret": "own"}, "secret"),
    ],
)
def test_what_would_have_no_effect_is_refused(refusal: Callable[[Obj], str], tls: Obj, named: str) -> None:
    assert named in refusal({"rest": {"tls": tls}})
