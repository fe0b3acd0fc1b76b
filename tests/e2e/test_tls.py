"""REST's certificate on the cluster: made, trusted by its authority alone, and made again."""

from __future__ import annotations

import base64
import ssl
from typing import Final

import httpx
import pytest
from tests.support import chart, rest
from tests.support.kube import Kube
from tests.support.objects import Obj
from tests.support.waiting import until, wait_for

PARTS: Final = {"ca.crt", "ca.key", "tls.crt", "tls.key"}


def _get(base: rest.Endpoint, trust: ssl.SSLContext) -> int:
    return httpx.get(f"{base.url}/readyz", trust_env=False, verify=trust, timeout=60).status_code


def _certificate(secret: Obj) -> bytes:
    """In DER."""
    return ssl.PEM_cert_to_DER_cert(base64.b64decode(secret["data"]["tls.crt"]).decode())


def test_who_trusts_the_authority_trusts_rest_and_nobody_else_does(kube: Kube, operator: str) -> None:
    with rest.endpoint(kube) as base:
        assert base.url.startswith("https://")
        assert _get(base, base.trust) == httpx.codes.OK
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            _get(base, ssl.create_default_context())


def test_all_pods_show_the_certificate_and_none_has_the_authoritys_key(kube: Kube, operator: str) -> None:
    secret = rest.secret(kube)
    assert set(secret["data"]) == PARTS

    def probe() -> None:
        # pods take a renewed one over within a minute or two
        until(set(rest.certificates(kube).values()) == {_certificate(rest.secret(kube))}, "another one is shown")

    wait_for("one certificate", probe, timeout=240, interval=2)
    for pod in chart.pods(kube, "api"):
        (volume,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "tls"]
        assert volume["secret"]["secretName"] == secret["metadata"]["name"]
        assert {item["key"] for item in volume["secret"]["items"]} == {"tls.crt", "tls.key"}


@pytest.mark.disruptive
@pytest.mark.timeout(900)
def test_what_is_deleted_from_the_secret_is_made_again_and_served_without_a_restart(kube: Kube, operator: str) -> None:
    before = rest.secret(kube)
    pods = set(rest.certificates(kube))
    kube.merge("Secret", before["metadata"]["name"], operator, {"data": dict.fromkeys(PARTS)})

    def filled() -> Obj:
        secret = rest.secret(kube)
        until(set(secret.get("data") or {}) == PARTS, sorted(secret.get("data") or {}))
        return secret

    after = wait_for("a new certificate", filled, timeout=150)
    assert not [name for name in PARTS if after["data"][name] == before["data"][name]]

    def served() -> None:
        shown = rest.certificates(kube)
        until(set(shown) == pods and set(shown.values()) == {_certificate(after)}, sorted(shown))

    # the kubelet brings it within two minutes or so
    wait_for("the new certificate shown by all pods", served, timeout=400, interval=2)
    with rest.endpoint(kube) as base:
        assert _get(base, base.trust) == httpx.codes.OK
