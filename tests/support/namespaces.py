"""A namespace of its own for each test, with Pod Security `restricted`."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hack.demo import cli as demo
from tests.support.kube import OUR_KINDS, Kube
from tests.support.waiting import until, wait_for

LABEL: Final = "sendense-tests"


def name_for(test: str) -> str:
    """Return a fresh name that tells which test it belongs to."""
    readable = re.sub(r"[^a-z0-9]+", "-", test.lower().removeprefix("test_")).strip("-")[:34].strip("-")
    return f"t-{readable}-{secrets.token_hex(3)}"


@contextmanager
def temporary(kube: Kube, test: str, *, pod_security: str = "restricted") -> Iterator[str]:
    """Name of a namespace that is deleted at the end; its end is not waited for."""
    name = name_for(test)
    create(kube, name, pod_security=pod_security)
    try:
        yield name
    finally:
        kube.delete("Namespace", name)


def create(kube: Kube, name: str, *, pod_security: str = "restricted") -> None:
    """A namespace in which pods can be made."""
    labels = {LABEL: "true", "pod-security.kubernetes.io/enforce": pod_security}
    kube.create({"kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    wait_for(f"service account of {name}", lambda: _has_account(kube, name), timeout=60)


def remove_demo(kube: Kube) -> None:
    """What `make demo` left: it can be made again. Says so."""
    for found in kube.select("Namespace", labels=demo.LABEL):
        name = found["metadata"]["name"]
        print(f"\ndeleting namespace {name} of an earlier demo (`make demo` makes it again)")
        kube.delete("Namespace", name)
        wait_gone(kube, "Namespace", name, timeout=180)


def of_others(kube: Kube) -> set[str]:
    """Namespaces with objects of our kinds that no test has made."""
    used = {obj["metadata"]["namespace"] for kind in OUR_KINDS for obj in kube.select(kind)}
    return used - {found["metadata"]["name"] for found in kube.select("Namespace", labels=LABEL)}


def _has_account(kube: Kube, namespace: str) -> None:
    until(kube.find("ServiceAccount", "default", namespace), "no service account")


def wait_gone(kube: Kube, kind: str, name: str, namespace: str | None = None, *, timeout: float = 60) -> None:
    """Until the object is no longer there; on time-out the finalizers that hold it are shown."""

    def probe() -> None:
        found = kube.find(kind, name, namespace)
        if found is not None:
            until(False, {"finalizers": found["metadata"].get("finalizers"), "status": found.get("status")})

    wait_for(f"{kind} {name} gone", probe, timeout=timeout)
