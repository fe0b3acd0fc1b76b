"""Fixtures of tests that need nothing but the API server and the CRDs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from tests.support import chart, manifests, namespaces
from tests.support.kube import Kube
from tests.support.waiting import until, wait_for


@pytest.fixture(scope="module")
def shared_namespace(kube: Kube, request: pytest.FixtureRequest) -> Iterator[str]:
    """One namespace a module, for tests that leave nothing in it."""
    with namespaces.temporary(kube, request.module.__name__.rpartition(".")[2]) as name:
        yield name


@pytest.fixture(scope="module")
def settled(kube: Kube) -> Callable[..., str]:
    """Makes a Backup whose status nobody but the test writes; its name.

    Where a controller runs it is waited for until it has ended the Backup: it never writes to one that has ended.
    """
    running = bool(chart.pods(kube, "controller"))

    def make(name: str, namespace: str, *, labels: dict[str, str] | None = None, **spec: Any) -> str:
        manifest = manifests.backup(name, namespace, cancel=True, **spec)
        manifest["metadata"]["labels"] = labels or {}
        kube.create(manifest)
        if running:
            wait_for(f"Backup {name} Cancelled", partial(_cancelled, kube, name, namespace), timeout=60)
        return name

    return make


def _cancelled(kube: Kube, name: str, namespace: str) -> None:
    status = kube.get("Backup", name, namespace).get("status", {})
    until(status.get("phase") == "Cancelled", status)
