"""The installed REST API, called as its users do: on a forwarded port, by TLS, with the token of
a ServiceAccount.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from tests.support import chart, programs
from tests.support.kube import Kube
from tests.support.objects import Obj
from tests.support.waiting import until, wait_for


@dataclass(frozen=True)
class Endpoint:
    """Where REST is reached from here, and whom a caller trusts there."""

    url: str
    trust: ssl.SSLContext = field(repr=False)


@contextmanager
def endpoint(kube: Kube) -> Iterator[Endpoint]:
    """The chart's REST Service, as `make install` leaves it: with a certificate that the controller made."""
    service = chart.only(kube, "Service", "api")
    (port,) = service["spec"]["ports"]
    meta = service["metadata"]
    trust = ssl.create_default_context(cadata=authority(kube))
    with programs.forwarded(f"service/{meta['name']}", port["port"], meta["namespace"]) as address:
        yield Endpoint(f"{port['name']}://{address}", trust)


def authority(kube: Kube) -> str:
    """Return the certificate of the authority that callers trust, in PEM."""
    return base64.b64decode(secret(kube)["data"]["ca.crt"]).decode()


def secret(kube: Kube) -> Obj:
    """Return what the certificate is kept in."""
    return chart.only(kube, "Secret", "api")


def certificates(kube: Kube) -> dict[str, bytes]:
    """By name of each of REST's pods: the certificate that it shows, in DER."""
    return {pod["metadata"]["name"]: _shown(pod) for pod in chart.pods(kube, "api")}


def _shown(pod: Obj) -> bytes:
    meta, (container,) = pod["metadata"], pod["spec"]["containers"]
    (port,) = [port["containerPort"] for port in container["ports"] if port["name"] == "api"]
    with programs.forwarded(f"pod/{meta['name']}", port, meta["namespace"]) as address:
        host, _, number = address.rpartition(":")
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, int(number)), timeout=30))


@dataclass(frozen=True)
class Caller:
    """Somebody with a token, or (empty) without."""

    base: Endpoint
    namespace: str
    token: str

    def call(self, method: str, path: str, *, namespace: str = "", **options: Any) -> httpx.Response:
        """Return the answer. `path`: below that of the namespace, the caller's own unless another one is given."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = f"{self.base.url}/api/v1/namespaces/{namespace or self.namespace}/{path}"
        return httpx.request(
            method, url, headers=headers, timeout=60, trust_env=False, verify=self.base.trust, **options
        )

    def get(self, path: str, **query: Any) -> Obj:
        """Return the object that is answered with 200."""
        return answered(self.call("GET", path, params=query), 200)

    def status(self, method: str, path: str, *, namespace: str = "", **options: Any) -> int:
        """Return the status; of a refusal, in the words that the old clients know."""
        answer = self.call(method, path, namespace=namespace, **options)
        if answer.is_error:
            assert set(answer.json()) == {"error", "details", "timestamp"}, answer.text
        return answer.status_code

    def wait_may(self, method: str, path: str) -> None:
        """Until a right that was just given is known to the API server, and no refusal is remembered by the gateway."""
        wait_for(f"{method} {path} allowed", lambda: self._probe(method, path), timeout=60, interval=1)

    def _probe(self, method: str, path: str) -> None:
        answer = self.call(method, path)
        until(answer.is_success, answer.text)


def answered(answer: httpx.Response, *statuses: int) -> Obj:
    """Return the object that is answered with one of these statuses."""
    assert answer.status_code in statuses, f"{answer.status_code}: {answer.text}"
    reported: Obj = answer.json()
    return reported


def account(base: Endpoint, namespace: str, name: str, role: str) -> Caller:
    """Return a new ServiceAccount with one of the cluster's roles in its namespace, as soon as it may list."""
    caller = unbound(base, namespace, name)
    bind(namespace, name, f"--clusterrole={role}")
    caller.wait_may("GET", "backup/list")
    return caller


def unbound(base: Endpoint, namespace: str, name: str) -> Caller:
    """Return a new ServiceAccount without any right."""
    programs.kubectl("create", "serviceaccount", name, "-n", namespace)
    return Caller(base, namespace, token(namespace, name))


def bind(namespace: str, name: str, role: str) -> None:
    """Give a ServiceAccount a role in its namespace. `role`: as kubectl wants it."""
    subject = f"--serviceaccount={namespace}:{name}"
    programs.kubectl("create", "rolebinding", name, role, subject, "-n", namespace)


def token(namespace: str, name: str, *more: str) -> str:
    """Return a ServiceAccount's token. `more`: arguments of `kubectl create token`."""
    return programs.kubectl("create", "token", name, "-n", namespace, *more).strip()
