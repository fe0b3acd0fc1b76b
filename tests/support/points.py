"""Restore points, each with a copy of the VM's disks as they were when it was made."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import images, manifests, programs
from tests.support.objects import Obj
from tests.support.waiting import until, wait_for
from tests.support.workspace import SLOW_MACHINE, Workspace

from sendense_operator.cluster.object_names import chain_name


@dataclass
class History:
    """Backups of one VM in one repository; `kept` are the copies of its disks, by the Backup's name."""

    space: Workspace
    root: Path
    """Folder of the copies, for as long as the test lasts."""
    vm: str = "vm"
    repository: str = "repo"
    kept: dict[str, list[Path]] = field(default_factory=dict)

    def keep(self, name: str) -> None:
        """Copy the disks as they are now: nobody may write to them meanwhile."""
        folder = self.root / name
        folder.mkdir()
        self.kept[name] = [folder / source.name for source in self.space.disks[self.vm]]
        for source, copy in zip(self.space.disks[self.vm], self.kept[name], strict=True):
            subprocess.run(["cp", "--reflink=auto", "--sparse=always", str(source), str(copy)], check=True)

    def start(self, name: str, **spec: Any) -> str:
        """Keep the disks, and create a Backup of them; its name."""
        self.keep(name)
        return self.space.backup(name, vm=self.vm, repository=self.repository, **spec)

    def backup(self, name: str, *, timeout: float = SLOW_MACHINE, **spec: Any) -> Obj:
        """As `start`; its status once it is Completed."""
        self.start(name, **spec)
        return self.space.wait_phase("Completed", name, timeout=timeout)

    def increment(self, name: str, **spec: Any) -> Obj:
        """As `backup`, of type Incremental."""
        return self.backup(name, type="Incremental", **spec)

    def set_consolidation(self, **rules: Any) -> None:
        """Say when the layers of their BackupChain are merged; it is made here if the controller has not made it."""
        namespace, name = self.space.namespace, chain_name(self.vm, self.repository)
        chain = manifests.backup_chain(name, namespace, vm=self.vm, repository=self.repository, consolidation=rules)
        self.space.kube.apply(chain)

    def keep_layers(self) -> None:
        """Let nothing be merged: the layers of removed restore points stay for as long as others need them."""
        self.set_consolidation(mode="Never")

    def assert_identical(self, *names: str) -> None:
        """Each of these restore points is what its disks were then, read through all its layers."""
        images.assert_points(self.space, {name: self.kept[name] for name in names}, repository=self.repository)

    def chain(self) -> Obj:
        """Return status of their BackupChain; empty while there is none."""
        fields = f"spec.vmRef.name={self.vm},spec.repositoryRef.name={self.repository}"
        found = self.space.kube.select("BackupChain", self.space.namespace, fields=fields)
        return dict(found[0].get("status", {})) if found else {}

    def wait_points(self, *names: str, timeout: float = SLOW_MACHINE) -> Obj:
        """Return the chain's status once these, in this order, are its restore points that can be used."""

        def probe() -> Obj:
            chain = self.chain()
            points = [p["backup"] for p in chain.get("restorePoints", []) if p.get("state", "Available") == "Available"]
            until(points == list(names) and chain["points"] == len(names), chain)
            return chain

        return wait_for(f"points {', '.join(names) or '(none)'}", probe, timeout=timeout)

    def wait_removed(self, **states: str) -> Obj:
        """Return the chain's status once what it says of removed points, by the Backup's name, is just this."""

        def probe() -> Obj:
            chain = self.chain()
            reported = {entry["backup"]: entry["state"] for entry in chain.get("removed", [])}
            until(reported == {name.replace("_", "-"): state for name, state in states.items()}, chain.get("removed"))
            return chain

        return wait_for(f"removed points {states or '(none)'}", probe, timeout=SLOW_MACHINE)


@contextmanager
def history(space: Workspace) -> Iterator[History]:
    """Of the VM `vm` in the repository `repo`; the copies go at the end."""
    root = programs.data() / "kept" / space.namespace
    root.mkdir(parents=True)
    try:
        yield History(space, root)
    finally:
        shutil.rmtree(root)
