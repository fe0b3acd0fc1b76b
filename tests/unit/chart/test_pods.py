"""How the programs' pods are fenced in, and what they share."""

from __future__ import annotations

from base64 import b64decode

import pytest

from sendense_operator.vma.callback_keys import FOLDER

from .conftest import PROGRAMS, Render, all_of, environment, one, template_of


@pytest.mark.parametrize("program", PROGRAMS)
def test_pods_fit_pod_security_restricted(render: Render, program: str) -> None:
    pod = template_of(render(), program)["spec"]
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
        assert template_of(render(), program)["spec"]["automountServiceAccountToken"] is True


@pytest.mark.parametrize("program", PROGRAMS)
def test_selectors_find_the_pods(render: Render, program: str) -> None:
    objects = render({"commonLabels": {"team": "backup"}, PROGRAMS[program]: {"podLabels": {"tier": "x"}}})
    labels = template_of(objects, program)["metadata"]["labels"]
    assert one(objects, "Deployment", f"-{program}")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert labels["team"] == "backup"
    assert labels["tier"] == "x"


def test_a_digest_wins_over_the_tag(render: Render) -> None:
    digest = "sha256:" + "a" * 64
    objects = render({"image": {"repository": "r.example/b", "tag": "x", "digest": digest}})
    for program in PROGRAMS:
        assert template_of(objects, program)["spec"]["containers"][0]["image"] == f"r.example/b@{digest}"
    assert environment(one(objects, "Deployment", "-controller"))["SENDENSE_WORKER_IMAGE"] == f"r.example/b@{digest}"


def test_the_gateway_never_has_fewer_pods_than_wanted(render: Render) -> None:
    objects = render()
    gateway = one(objects, "Deployment", "-gateway")
    assert gateway["spec"]["replicas"] == 2
    assert gateway["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


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
        pod = template_of(objects, program)["spec"]
        names = [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
        mount = {"name": "callback-key", "mountPath": FOLDER, "readOnly": True}
        assert (own in names) is (program != "api")
        assert (mount in pod["containers"][0]["volumeMounts"]) is (program != "api")


def test_long_names_still_fit_where_dns_limits_them(render: Render) -> None:
    for item in render({"fullnameOverride": "x" * 52}):
        if item["kind"] in ("Deployment", "Service", "ServiceAccount"):
            assert len(item["metadata"]["name"]) <= 63


def test_the_pods_that_serve_the_callbacks_have_nothing_of_rest(render: Render) -> None:
    (container,) = template_of(render(), "gateway")["spec"]["containers"]
    assert not [item for item in container["env"] if "REST" in item["name"]]
    assert [port["name"] for port in container["ports"]] == ["callbacks", "status"]
