"""A reference VMA of a test's own: an appliance of the shared service, steered through its control API.

The service runs in its own namespace, because it stands for something outside of the product.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

import httpx
from tests.support import programs
from tests.support.kube import Kube
from tests.support.objects import Obj

NAMESPACE: Final = "sendense-reference-vma"
SERVICE: Final = "reference-vma"
PORT: Final = 8081
USER: Final = "backup"
PASSWORD: Final = "secret"
MIB: Final = 1 << 20


class Transport(Protocol):
    """How a test reaches the control API."""

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Return the answer; raises unless it is 2xx."""


@dataclass(frozen=True)
class ThroughCluster:
    """By the API server's proxy to the Service: needs no route from the host into the pod network."""

    kube: Kube

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """As Transport says."""
        proxy = f"api/v1/namespaces/{NAMESPACE}/services/{SERVICE}:{PORT}/proxy"
        return self.kube.request(method, f"{proxy}/{path}", timeout=180, **options)


@dataclass(frozen=True)
class OnHost:
    """Directly, where the service runs on the host."""

    base: str

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """As Transport says."""
        return httpx.request(method, f"{self.base}/{path}", timeout=180, **options).raise_for_status()


@dataclass(frozen=True)
class Disk:
    """A VM's disk: what it should hold, by the control API's kinds."""

    kind: str = "pattern"
    virtual_size: int = 16 * MIB
    more: tuple[tuple[str, Any], ...] = ()

    def spec(self, index: int) -> Obj:
        """For the control API."""
        return {"key": 2000 + index, "kind": self.kind, "size": self.virtual_size, **dict(self.more)}


@dataclass(frozen=True)
class ReferenceVMA:
    """One appliance, known by `id`; `url` is what a VMwareAppliance says."""

    transport: Transport
    id: str
    url: str

    def configure(self, **settings: Any) -> None:
        """Make the appliance, or change its settings: control_plane, vcenter_password, request_bytes, …"""
        self.transport.request("PUT", f"_control/appliances/{self.id}", json=settings)

    def remove(self) -> None:
        """End it and its clients, and remove its disks."""
        self.transport.request("DELETE", f"_control/appliances/{self.id}")

    def add_vm(self, name: str, *disks: Disk, path: str | None = None, **more: Any) -> list[Path]:
        """Make a VM; its disks' files on the host, in device order."""
        spec = {"name": name, "disks": [disk.spec(index) for index, disk in enumerate(disks or (Disk(),))], **more}
        if path is not None:
            spec["path"] = path
        return self._files(self._call("POST", "vms", json=spec).json())

    def disks(self, path: str) -> list[Path]:
        """Return the files of the VM with that inventory path."""
        (vm,) = [vm for vm in self._call("GET", "vms").json() if vm["path"] == path]
        return self._files(vm)

    def move_vm(self, name: str, to: str, *disks: Disk, uuid: str) -> None:
        """Another path for the VM with that BIOS UUID, whose disks are made anew."""
        self.remove_vm(name)
        self.add_vm(to.rpartition("/")[2], *disks, path=to, uuid=uuid)

    def remove_vm(self, name: str) -> None:
        """Out of vCenter. `name`: its name or path."""
        self._call("DELETE", f"vms/{quote(name, safe='')}")

    def write(self, name: str, **what: Any) -> list[list[int]]:
        """Change a VM's disks, as the control API says: key, count, size, ranges, seed, fill.

        Key, offset and length of each write.
        """
        written: list[list[int]] = self._call("POST", f"vms/{name}/write", json=what).json()["ranges"]
        return written

    def reset_cbt(self, name: str) -> None:
        """New change UUIDs for the VM's disks, as when somebody turns CBT off and on."""
        self._call("POST", f"vms/{name}/reset-cbt")

    def track(self, name: str) -> None:
        """Let change tracking know the disks' content now, so that no job has to read it for that."""
        self._call("POST", f"vms/{name}/track")

    def forget_change_ids(self, name: str, key: int) -> None:
        """vCenter refuses the change ids that it gave for a disk so far, though their UUID is the disk's."""
        self._call("POST", f"vms/{name}/forget-change-ids", json={"key": key})

    def fault(self, on: str, mode: str, **more: Any) -> int:
        """From now on; once unless `count` says otherwise (0: until it is removed). Returns its id."""
        return int(self._call("POST", "faults", json={"on": on, "mode": mode, **more}).json()["id"])

    def clear_faults(self, fault: int | None = None) -> None:
        """One fault, or all."""
        self._call("DELETE", "faults" if fault is None else f"faults/{fault}")

    def log(self, **filters: str | int) -> list[Obj]:
        """Return the entries of its log: filters are since, job, vm, kind, event, path."""
        entries: list[Obj] = self._call("GET", "log", params=filters).json()["entries"]
        return entries

    def starts(self) -> list[Obj]:
        """Start calls that it received."""
        return [entry for entry in self.log(kind="received") if entry["path"].endswith("/api/v1/backup/start")]

    def targets(self) -> list[str]:
        """HOST:PORT of every disk, as the start calls passed them."""
        reported = [part for entry in self.starts() for part in str(entry["body"]["nbd_targets"]).split(",")]
        return [target.split("://")[1].split("/")[0] for target in reported]

    def events(self, event: str, **filters: str | int) -> list[Obj]:
        """Return events of one name."""
        return self.log(kind="event", event=event, **filters)

    def jobs(self) -> list[Obj]:
        """Return all jobs since it was made."""
        jobs: list[Obj] = self._call("GET", "jobs").json()
        return jobs

    def command(self, job: str, command: str, **more: Any) -> None:
        """Steer a job's clients: kill, term, die, deadlock, pause, resume, rate."""
        self._call("POST", f"jobs/{job}/command", json={"command": command, **more})

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.transport.request(method, f"appliance/{self.id}/_control/{path}", **options)

    def _files(self, vm: Obj) -> list[Path]:
        """Return the VM's folder as the service sees it lies below the appliance's own, which the host shares."""
        mine = f"@{self.id}"
        folder = programs.data() / "vma" / mine / str(vm["folder"]).partition(f"/{mine}/")[2]
        return [folder / str(disk["file"]) for disk in vm["disks"]]


def in_cluster(kube: Kube, name: str) -> ReferenceVMA:
    """Return an appliance of the service that runs in the cluster; not there until it is configured."""
    url = f"http://{SERVICE}.{NAMESPACE}.svc:{PORT}/appliance/{name}"
    return ReferenceVMA(ThroughCluster(kube), name, url)
