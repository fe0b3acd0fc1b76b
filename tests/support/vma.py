"""A reference VMA of a test's own: an appliance of the shared service, steered through its control API.

The service runs in its own namespace, because it stands for something outside of the product.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
from tests.support import programs
from tests.support.kube import Kube

NAMESPACE: Final = "sendense-reference-vma"
SERVICE: Final = "reference-vma"
PORT: Final = 8081
USER: Final = "backup"
PASSWORD: Final = "secret"
MIB: Final = 1 << 20

Object = dict[str, Any]


class Transport(Protocol):
    """How a test reaches the control API."""

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer; raises unless it is 2xx."""


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
    size: int = 16 * MIB
    more: tuple[tuple[str, Any], ...] = ()

    def spec(self, number: int) -> Object:
        """For the control API."""
        return {"key": 2000 + number, "kind": self.kind, "size": self.size, **dict(self.more)}


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
        spec = {"name": name, "disks": [disk.spec(n) for n, disk in enumerate(disks or (Disk(),))], **more}
        if path is not None:
            spec["path"] = path
        return self._files(self._call("POST", "vms", json=spec).json())

    def disks(self, path: str) -> list[Path]:
        """The files of the VM with that inventory path."""
        (vm,) = [vm for vm in self._call("GET", "vms").json() if vm["path"] == path]
        return self._files(vm)

    def fault(self, on: str, mode: str, **more: Any) -> int:
        """From now on; once unless `count` says otherwise (0: until it is removed). Returns its id."""
        return int(self._call("POST", "faults", json={"on": on, "mode": mode, **more}).json()["id"])

    def clear_faults(self, fault: int | None = None) -> None:
        """One fault, or all."""
        self._call("DELETE", "faults" if fault is None else f"faults/{fault}")

    def log(self, **filters: str | int) -> list[Object]:
        """Entries of its log: filters are since, job, vm, kind, event, path."""
        entries: list[Object] = self._call("GET", "log", params=filters).json()["entries"]
        return entries

    def starts(self) -> list[Object]:
        """Start calls that it received."""
        return [entry for entry in self.log(kind="received") if entry["path"].endswith("/api/v1/backup/start")]

    def events(self, event: str, **filters: str | int) -> list[Object]:
        """Events of one name."""
        return self.log(kind="event", event=event, **filters)

    def jobs(self) -> list[Object]:
        """All jobs since it was made."""
        jobs: list[Object] = self._call("GET", "jobs").json()
        return jobs

    def command(self, job: str, command: str, **more: Any) -> None:
        """Steer a job's clients: kill, term, die, deadlock, pause, resume, rate."""
        self._call("POST", f"jobs/{job}/command", json={"command": command, **more})

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.transport.request(method, f"appliance/{self.id}/_control/{path}", **options)

    def _files(self, vm: Object) -> list[Path]:
        """The VM's folder as the service sees it lies below the appliance's own, which the host shares."""
        mine = f"@{self.id}"
        folder = programs.data() / "vma" / mine / str(vm["folder"]).partition(f"/{mine}/")[2]
        return [folder / str(disk["file"]) for disk in vm["disks"]]


def in_cluster(kube: Kube, name: str) -> ReferenceVMA:
    """An appliance of the service that runs in the cluster; not there until it is configured."""
    url = f"http://{SERVICE}.{NAMESPACE}.svc:{PORT}/appliance/{name}"
    return ReferenceVMA(ThroughCluster(kube), name, url)
