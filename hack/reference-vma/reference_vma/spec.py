"""What the server tells a client process: one JSON line on its standard input, so that its arguments show nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class DiskSpec:
    """One disk of the VM, in device order."""

    key: int
    path: str
    virtual_size: int
    """Bytes."""


@dataclass(frozen=True)
class FaultSpec:
    """A fault that the client carries out on itself (README, "Faults", `on: client`)."""

    mode: str
    bytes: int = 0
    disk: int | None = None
    disks: int = 0
    seconds: float = 0.0
    fraction: float = 0.5
    offset: int = 0
    bytes_per_second: float = 0.0


@dataclass(frozen=True)
class JobSpec:
    """One job of one VM."""

    job_id: str
    vm_path: str
    vm_uuid: str
    control_plane: str
    nbd_targets: str
    disks: tuple[DiskSpec, ...]
    state_dir: str
    scratch_dir: str
    snapshot: str = "copy"
    """"copy": disks are read as they were at the snapshot; "none": as they are."""
    telemetry_seconds: float = 5.0
    request_bytes: int = 4 << 20
    workers: int = 4
    retry_seconds: float = 2.5
    zeroes: str = "guess"
    asks: str = "zero"
    callbacks: str = "once"
    """These three as in `config.Settings`."""
    doomed: str = ""
    """Why vCenter refuses this job (password, unknown VM, down); the client then dies in silence."""
    faults: tuple[FaultSpec, ...] = field(default=())

    @property
    def vm_name(self) -> str:
        """Last element of the inventory path: all that a request says about the VM."""
        return self.vm_path.rstrip("/").rsplit("/", 1)[-1]

    def fault(self, mode: str) -> FaultSpec | None:
        """Return the first fault of that mode."""
        return next((fault for fault in self.faults if fault.mode == mode), None)

    def to_line(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> JobSpec:
        """Inverse of `to_line`."""
        raw: dict[str, Any] = json.loads(line)
        raw["disks"] = tuple(DiskSpec(**disk) for disk in raw["disks"])
        raw["faults"] = tuple(FaultSpec(**fault) for fault in raw["faults"])
        return cls(**raw)
