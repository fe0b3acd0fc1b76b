"""How to find what the installed chart made."""

from __future__ import annotations

from typing import Any, Final

from tests.support.kube import Kube

RELEASE: Final = "sendense-backup"
"""`make install` gives this name."""

Object = dict[str, Any]


def labels(component: str | None = None) -> str:
    """Selector of the release's objects, or of those of one of its programs (controller, gateway)."""
    whole = f"app.kubernetes.io/name=sendense-backup,app.kubernetes.io/instance={RELEASE}"
    return f"{whole},app.kubernetes.io/component={component}" if component else whole


def only(kube: Kube, kind: str, component: str) -> Object:
    """The one object of that kind that a program has. Raises ValueError when there are none or several."""
    (found,) = kube.select(kind, labels=labels(component))
    return found


def pods(kube: Kube, component: str | None = None) -> list[Object]:
    """The release's pods."""
    return kube.select("Pod", labels=labels(component))
