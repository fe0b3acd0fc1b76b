"""What the installed chart made: how to find it, and how to disturb it (afterwards all is as before)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.support.kube import Kube
from tests.support.objects import Obj
from tests.support.waiting import until, wait_for

RELEASE: Final = "sendense-backup"
"""`make install` gives this name."""


def labels(component: str | None = None) -> str:
    """Selector of the release's objects, or of those of one of its programs (controller, gateway, api)."""
    whole = f"app.kubernetes.io/name=sendense-backup,app.kubernetes.io/instance={RELEASE}"
    return f"{whole},app.kubernetes.io/component={component}" if component else whole


def only(kube: Kube, kind: str, component: str) -> Obj:
    """Return the one object of that kind that a program has. Raises ValueError when there are none or several."""
    (found,) = kube.select(kind, labels=labels(component))
    return found


def pods(kube: Kube, component: str | None = None) -> list[Obj]:
    """Return the release's pods."""
    return kube.select("Pod", labels=labels(component))


def kill(kube: Kube, component: str, count: int | None = None) -> None:
    """SIGKILL, as far as the API can, for `count` pods of one of its programs, or for all."""
    for pod in pods(kube, component)[:count]:
        kube.delete("Pod", pod["metadata"]["name"], pod["metadata"]["namespace"], grace=0)


def wait_available(kube: Kube, component: str, *, timeout: float = 180) -> None:
    """Until the newest version of the program runs in full, and no older one."""

    def probe() -> None:
        deployment = only(kube, "Deployment", component)
        status, wanted = deployment["status"], deployment["spec"]["replicas"]
        until(status.get("observedGeneration") == deployment["metadata"]["generation"], status)
        numbers = [status.get(f"{kind}Replicas") for kind in ("available", "updated")]
        until(numbers == [wanted, wanted] and status.get("replicas") == wanted, status)

    wait_for(f"{component} available", probe, timeout=timeout)


@contextmanager
def scaled(kube: Kube, component: str, replicas: int) -> Iterator[None]:
    """The program runs so many times while the block runs; afterwards as often as before, and is available."""
    before = only(kube, "Deployment", component)
    _merge(kube, before, {"replicas": replicas})
    try:
        if replicas:
            wait_available(kube, component)
        else:
            _wait_none(kube, component)
        yield
    finally:
        _merge(kube, before, {"replicas": before["spec"]["replicas"]})
        wait_available(kube, component)


@contextmanager
def setting(kube: Kube, component: str, name: str, value: str) -> Iterator[None]:
    """An environment variable of the program is different while the block runs."""
    deployment = only(kube, "Deployment", component)
    template = deployment["spec"]["template"]["spec"]
    (container,) = template["containers"]
    changed = {
        **container,
        "env": [{"name": name, "value": value} if e["name"] == name else e for e in container["env"]],
    }
    assert changed != container, f"{component} has no {name}, or has that value"
    _merge(kube, deployment, {"template": {"spec": {"containers": [changed]}}})
    try:
        wait_available(kube, component)
        yield
    finally:
        _merge(kube, deployment, {"template": {"spec": {"containers": [container]}}})
        wait_available(kube, component)


def roll(kube: Kube, component: str) -> None:
    """Replace its pods one after the other, as a changed template does."""
    deployment = only(kube, "Deployment", component)
    stamp = {"tests/rolled": deployment["metadata"]["resourceVersion"]}
    _merge(kube, deployment, {"template": {"metadata": {"annotations": stamp}}})


def _merge(kube: Kube, deployment: Obj, spec: Obj) -> None:
    meta = deployment["metadata"]
    kube.merge("Deployment", meta["name"], meta["namespace"], {"spec": spec})


def _wait_none(kube: Kube, component: str) -> None:
    wait_for(f"no {component}", lambda: until(not pods(kube, component), "its pods are there"), timeout=90)
