"""What a measurement works with: a namespace of its own, an appliance of its own, one repository."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support import namespaces, repositories, setup, vma
from tests.support.kube import Kube
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

Object = dict[str, Any]
TIMEOUT = 300.0


@contextmanager
def scene(kube: Kube, operator: str, name: str) -> Iterator[Workspace]:
    """A workspace with credentials, appliance and repository; all of it is removed at the end."""
    with TemporaryDirectory() as run:
        setup.ensure_reference_vma(kube, Path(run))
    with namespaces.temporary(kube, name) as namespace:
        appliance = vma.in_cluster(kube, namespace)
        appliance.configure(control_plane=setup.gateway_url(kube, operator, namespace, "vma"), snapshot="none")
        space = Workspace(kube, namespace, operator, appliance, vma.PASSWORD)
        try:
            space.add_secret()
            space.add_appliance()
            space.add_repository()
            space.wait_ready("repo", "BackupRepository")
            space.wait_ready("vma", "VMwareAppliance")
            yield space
        finally:
            appliance.remove()
            repositories.remove(kube, space.folders.values())


def timed_backup(space: Workspace, vm: str) -> tuple[str, float]:
    """Name of a Completed Backup and the seconds from its creation until the status said so."""
    name = f"{vm}-{secrets.token_hex(3)}"
    start = time.monotonic()
    space.backup(name, vmRef={"name": vm})

    def probe() -> float:
        status = space.status(name)
        until(status.get("phase") == "Completed", status)
        return time.monotonic() - start

    return name, wait_for(f"Backup {name}", probe, timeout=TIMEOUT, interval=0.05)


def remove_backup(space: Workspace, name: str) -> None:
    """The object and its files, so that the next one finds the same room."""
    disks = space.status(name)["disks"]
    space.kube.delete("Backup", name, space.namespace)
    for disk in disks:
        (space.folders["repo"].path / disk["file"]).unlink()
