"""Which engine a checkout's cluster runs on: the machine's own when one answers, else ours from Debian's packages."""

from __future__ import annotations

import os
import shutil

from . import apt
from .engine import Engine
from .from_packages import dockerd
from .settings import CHOICE
from .shell import SetupError, succeeds, write


def chosen() -> Engine | None:
    """Return the engine that this checkout's `up` chose; None before. A running one of ours counts."""
    if not CHOICE.exists():
        return dockerd.own() if dockerd.left_behind() else None
    name = CHOICE.read_text().strip()
    return dockerd.own() if name == "packages" else _existing(name)


def _existing(command: str) -> Engine:
    if command == "podman":
        return Engine(False, "podman", {"KIND_EXPERIMENTAL_PROVIDER": "podman"})
    plain = not succeeds("docker", "buildx", "version", timeout=30)
    return Engine(False, "docker", {"DOCKER_BUILDKIT": "0"} if plain else {})


def ensure() -> Engine:
    """Return an engine that answers: chosen before, found or started. Raises SetupError with what to install."""
    forced = os.environ.get("SENDENSE_ENGINE", "")
    engine = chosen() if CHOICE.exists() else None
    if engine and forced and engine.own != (forced == "packages"):
        raise SetupError(
            f"SENDENSE_ENGINE is {forced}, but this checkout's cluster runs on another engine: make down first"
        )
    engine = engine or _find(forced)
    if engine.own:
        dockerd.start()
    elif not engine.answers():
        raise SetupError(
            f"{engine.command}, which this checkout's cluster runs on, does not answer: start it, "
            f"or give it up by removing {CHOICE}"
        )
    write(CHOICE, "packages\n" if engine.own else f"{engine.command}\n")
    return engine


def _find(forced: str) -> Engine:
    if forced not in {"", "existing", "packages"}:
        raise SetupError(f"SENDENSE_ENGINE is {forced!r}: existing, packages or nothing (found out) is meant")
    # a shell that has taken over our settings (`hack/cluster env`) names our own engine
    ours = os.environ.get("DOCKER_HOST") == dockerd.own().env["DOCKER_HOST"]
    if forced != "packages" and not ours:
        for command in ("docker", "podman"):
            candidate = _existing(command) if shutil.which(command) else None
            if candidate and candidate.answers():
                return candidate
    if forced != "existing" and apt.usable():
        return dockerd.own()
    raise SetupError(
        "No container engine answers: install and start Docker or Podman "
        "(or run this as root on Debian, where the cluster is made from packages)."
    )
