"""All that a test of the whole product works with: its namespace, its appliance, repositories, VMs and backups."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tests.support import manifests, repositories, setup
from tests.support.kube import Kube
from tests.support.namespaces import wait_gone
from tests.support.objects import Obj, find_condition
from tests.support.repositories import Folder
from tests.support.vma import USER, Disk, ReferenceVMA
from tests.support.waiting import Impossible, until, wait_for

ENDS: Final = ("Completed", "Failed", "Cancelled", "Lost")
SLOW_MACHINE: Final = 180
"""Seconds that a wait may take where nothing is claimed about how long: four tests may share two cores."""
SELDOM: Final = 120
"""Seconds between two probes of a repository: each is a pod, and most tests need only the first."""
OFTEN: Final = 10
"""Seconds between two probes, where a test waits for what the next one finds."""
SHORT: Final[Mapping[str, int]] = {
    "firstSignSeconds": 15,
    "firstSignCbtSeconds": 15,
    "snapshotSeconds": 20,
    "connectSeconds": 10,
    "reconnectSeconds": 12,
    "stallSeconds": 15,
    "stallUnhealthySeconds": 8,
    "requestSeconds": 10,
}
"""Clocks of an appliance in tests: what takes minutes in the field takes seconds here."""


@dataclass
class Workspace:
    """A namespace and what belongs to it outside of it. Names default to those that the manifests refer to."""

    kube: Kube
    namespace: str
    operator: str
    """Namespace of the operator."""
    vma: ReferenceVMA
    password: str
    """vCenter's password, which appears nowhere else in the world."""
    gateway: str = ""
    """Base URL of the gateway where the appliance needs another than the chart's."""
    folders: dict[str, Folder] = field(default_factory=dict)
    """Of the repositories, by the BackupRepository's name."""
    disks: dict[str, list[Path]] = field(default_factory=dict)
    """Source files on the host, by the ProtectedVM's name."""

    def ready(self, *disks: Disk, appliance: Mapping[str, Any] | None = None, **repository: Any) -> None:
        """Everything that a Backup `backup(...)` needs: one VM with these disks."""
        self.add_secret()
        self.add_appliance(**(appliance or {}))
        self.add_repository(**repository)
        self.add_vm("vm", *disks)

    def add_secret(self, name: str = "vcenter", *, password: str | None = None) -> None:
        """vCenter's credentials."""
        self.kube.create(manifests.secret(name, self.namespace, username=USER, password=password or self.password))

    def add_appliance(self, name: str = "vma", *, connect: bool = True, **spec: Any) -> Obj:
        """Return a VMwareAppliance for the workspace's VMA, with short clocks; `nbd`, `timeouts`, … go into its spec.

        With `connect` the VMA is then configured to call back to it.
        """
        timeouts = {**SHORT, **spec.pop("timeouts", {})}
        nbd = {"exposure": "PodIP", **spec.pop("nbd", {})}
        if nbd["exposure"] != "PodIP":
            # What a worker sees of a pod that comes through a node's port is some node's address.
            nbd.setdefault("allowedFrom", manifests.EVERYBODY)
        url = spec.pop("url", self.vma.url)
        more = {"timeouts": timeouts, "nbd": nbd, "healthIntervalSeconds": 5, **spec}
        made = self.kube.create(manifests.appliance(name, self.namespace, url=url, **more))
        if connect:
            self.connect(name)
        return made

    def connect(self, appliance: str = "vma") -> str:
        """Do what an administrator does on the appliance: set its control-plane URL to the object's; returns it."""
        url = setup.callback_url(self.kube, self.namespace, appliance)
        self.vma.configure(control_plane=url)
        return url

    def add_repository(
        self,
        name: str = "repo",
        *,
        node: int | None = 0,
        on_node: str | None = None,
        lies_in: Folder | None = None,
        **spec: Any,
    ) -> Folder:
        """Return a BackupRepository on a folder of its own, on one of the worker nodes; None: on all, as NFS is.

        `on_node` is a folder as the node sees it that the test has made itself, `lies_in` that of another repository.
        """
        folder = self.add_claim(f"{name}-claim", node=node, on_node=on_node, lies_in=lies_in)
        self.folders[name] = folder
        spec = {"minFreeBytes": 1 << 20, "probeIntervalSeconds": SELDOM, **spec}
        self.kube.create(manifests.repository(name, self.namespace, claim=f"{name}-claim", **spec))
        return folder

    def probe_often(self, name: str = "repo") -> None:
        """From now on the repository is probed as often as its API allows."""
        self.kube.merge("BackupRepository", name, self.namespace, {"spec": {"probeIntervalSeconds": OFTEN}})

    def add_claim(
        self, name: str, *, node: int | None = 0, on_node: str | None = None, lies_in: Folder | None = None, **more: Any
    ) -> Folder:
        """Return a claim bound to a folder, without a BackupRepository."""
        volume = f"{self.namespace}-{name}"
        if on_node:
            folder = Folder(Path(on_node), volume)
        else:
            folder = Folder(lies_in.path if lies_in else repositories.make_folder(volume), volume)
        where = on_node or f"{repositories.NODE_DATA}/repos/{folder.path.name}"
        nodes = repositories.worker_nodes(self.kube)
        chosen = nodes if node is None else [nodes[node]]
        self.kube.create(repositories.volume(volume, name, self.namespace, chosen, where))
        self.kube.create(repositories.claim(name, self.namespace, volume, **more))
        self.folders.setdefault(name, folder)
        return folder

    def add_vm(
        self,
        name: str,
        *disks: Disk,
        vmware: str | None = None,
        path: str | None = None,
        track: bool = False,
        **more: Any,
    ) -> None:
        """A VM in the reference VMA and its ProtectedVM. `vmware` is its name there (default: the same).

        `track`: its content is known to the change tracking from the start, so that no backup waits for that.
        """
        known_as = vmware or name
        path = path or f"/DC1/vm/{known_as}"
        self.disks[name] = self.vma.add_vm(known_as, *disks, path=path, track=track)
        self.kube.create(manifests.protected_vm(name, self.namespace, path=path, **more))

    def backup(self, name: str = "backup", **spec: Any) -> str:
        """Create a Backup; its name."""
        self.kube.create(manifests.backup(name, self.namespace, **{"retries": 0, **spec}))
        return name

    def get(self, name: str = "backup", kind: str = "Backup") -> Obj:
        """Return an object of the namespace."""
        return self.kube.get(kind, name, self.namespace)

    def status(self, name: str = "backup", kind: str = "Backup") -> Obj:
        """Return its status; empty while there is none."""
        status: Obj = self.get(name, kind).get("status", {})
        return status

    def wait_phase(
        self, phase: str, name: str = "backup", kind: str = "Backup", *, timeout: float = SLOW_MACHINE
    ) -> Obj:
        """Return the status once the Backup or Restore is in that phase; fails at once when it ends otherwise."""

        def probe() -> Obj:
            status = self.status(name, kind)
            now = status.get("phase")
            if now in ENDS and now != phase:
                raise Impossible(f"{now}: {status.get('conditions')}")
            until(now == phase, summary(status))
            return status

        return wait_for(f"{kind} {name} {phase}", probe, timeout=timeout)

    def wait_reason(
        self, reason: str | Iterable[str], name: str = "backup", kind: str = "Backup", *, timeout: float = SLOW_MACHINE
    ) -> str:
        """Return message of the Ready condition once it has the reason (or one of them)."""
        wanted = {reason} if isinstance(reason, str) else set(reason)

        def probe() -> str:
            status = self.status(name, kind)
            ready = find_condition(status, "Ready")
            until(ready.get("reason") in wanted, summary(status))
            return str(ready["message"])

        return wait_for(f"{kind} {name} with reason {' or '.join(sorted(wanted))}", probe, timeout=timeout)

    def wait_ready(self, name: str, kind: str, *, timeout: float = SLOW_MACHINE) -> Obj:
        """Return the object's status once it is Ready."""

        def probe() -> Obj:
            status = self.status(name, kind)
            until(find_condition(status, "Ready").get("status") == "True", summary(status))
            return status

        return wait_for(f"{kind} {name} Ready", probe, timeout=timeout)

    def wait_copying(self, name: str = "backup", *, timeout: float = SLOW_MACHINE) -> Obj:
        """Return the VMA's job of the Backup's latest attempt, once bytes are flowing."""

        def probe() -> Obj:
            status = self.status(name)
            if status.get("phase") in ENDS:
                raise Impossible(summary(status))
            running = [job for job in self.vma.jobs() if job["job_id"] == status.get("jobID")]
            until(running and running[0]["bytes"] > 0, (summary(status), running))
            return running[0]

        return wait_for(f"Backup {name} copying", probe, timeout=timeout)

    def wait_copying_together(self, count: int, *, timeout: float = 240) -> list[str]:
        """Return the VMA's jobs, once bytes of so many are flowing at the same time. Make them slow before."""

        def probe() -> list[str]:
            jobs = [str(job["job_id"]) for job in self.vma.jobs() if job["alive"] and job["bytes"]]
            until(len(jobs) == count, jobs)
            return jobs

        return wait_for(f"{count} backups copying at once", probe, timeout=timeout)

    def delete_and_wait(self, name: str = "backup", *, timeout: float = 60) -> None:
        """Delete a Backup, and wait until the object has gone: whatever it does, in less than a minute."""
        self.kube.delete("Backup", name, self.namespace)
        wait_gone(self.kube, "Backup", name, self.namespace, timeout=timeout)

    def scan(self, repository: str = "repo", *, timeout: float = SLOW_MACHINE) -> Obj:
        """Return what a scan finds that is asked for now."""
        request = secrets.token_hex(4)
        patch = {"metadata": {"annotations": {"backup.sendense.io/scan": request}}}
        self.kube.merge("BackupRepository", repository, self.namespace, patch)

        def probe() -> Obj:
            found: Obj = self.status(repository, "BackupRepository").get("catalogue", {})
            until(found.get("request") == request, found)
            return found

        return wait_for(f"a scan of {repository}", probe, timeout=timeout)

    def workers(self, backup: str = "backup") -> list[Obj]:
        """Return the pods of a Backup."""
        return self.kube.select("Pod", self.namespace, labels=f"backup.sendense.io/backup={backup}")

    def jobs(self) -> list[Obj]:
        """Kubernetes Jobs that run backups."""
        return self.kube.select("Job", self.namespace, labels="backup.sendense.io/component=worker")

    def events(self, name: str = "backup") -> list[str]:
        """Reasons of the events about a Backup."""
        return [event["reason"] for event in self._events(name)]

    def story(self, name: str = "backup", kind: str = "Backup") -> list[tuple[str, str, str]]:
        """Type, reason and message of each event about an object, in the order in which they were last reported."""
        events = sorted(self._events(name, kind), key=lambda event: int(event["metadata"]["resourceVersion"]))
        return [(event["type"], event["reason"], event["message"]) for event in events]

    def _events(self, name: str, kind: str = "Backup") -> list[Obj]:
        about = f"involvedObject.kind={kind},involvedObject.name={name}"
        return self.kube.select("Event", self.namespace, fields=about)


def summary(status: Mapping[str, Any]) -> str:
    """Phase, stage and the conditions in a line."""
    said = [f"{c['type']}={c['status']} {c['reason']}: {c.get('message', '')}" for c in status.get("conditions", [])]
    return f"{status.get('phase')} {status.get('stage', '')} {status.get('progress', {}).get('summary', '')} {said}"


def moment(text: str) -> datetime:
    """Return a time as Kubernetes writes it."""
    return datetime.fromisoformat(text)
