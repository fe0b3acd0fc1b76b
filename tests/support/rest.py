"""The installed REST API, called as its users do: on a forwarded port, with the token of a ServiceAccount."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from tests.support import chart, programs
from tests.support.kube import Kube
from tests.support.waiting import until, wait_for

Object = dict[str, Any]


@contextmanager
def base_url(kube: Kube) -> Iterator[str]:
    """Of the chart's REST Service, as it is installed without TLS."""
    service = chart.only(kube, "Service", "api")
    (port,) = service["spec"]["ports"]
    meta = service["metadata"]
    with programs.forwarded(meta["name"], port["port"], meta["namespace"]) as address:
        yield f"{port['name']}://{address}"


@dataclass(frozen=True)
class Caller:
    """Somebody with a token, or (empty) without."""

    base: str
    namespace: str
    token: str

    def call(self, method: str, path: str, *, namespace: str = "", **options: Any) -> httpx.Response:
        """Return the answer. `path`: below that of the namespace, the caller's own unless another one is given."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = f"{self.base}/api/v1/namespaces/{namespace or self.namespace}/{path}"
        return httpx.request(method, url, headers=headers, timeout=60, trust_env=False, **options)

    def get(self, path: str, **query: Any) -> Object:
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


def answered(answer: httpx.Response, *statuses: int) -> Object:
    """Return the object that is answered with one of these statuses."""
    assert answer.status_code in statuses, f"{answer.status_code}: {answer.text}"
    reported: Object = answer.json()
    return reported


def account(base: str, namespace: str, name: str, role: str) -> Caller:
    """Return a new ServiceAccount with one of the cluster's roles in its namespace, as soon as it may list."""
    caller = unbound(base, namespace, name)
    bind(namespace, name, f"--clusterrole={role}")
    caller.wait_may("GET", "backup/list")
    return caller


def unbound(base: str, namespace: str, name: str) -> Caller:
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
