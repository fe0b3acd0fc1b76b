"""Faults that tests ask for: which there are, and which one strikes now."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Final

from reference_vma.spec import FaultSpec

_ENDPOINT: Final = frozenset({"error", "garbage", "no-answer", "slow"})
MODES: Final[dict[str, frozenset[str]]] = {
    "start": _ENDPOINT | {"accept-no-answer", "accept-garbage"},
    "discover": _ENDPOINT,
    "cbt-status": _ENDPOINT,
    "health": _ENDPOINT,
    "progress": _ENDPOINT,
    "cleanup": _ENDPOINT,
    "vcenter": frozenset({"down", "password"}),
    "client": frozenset(
        {"silent", "hang", "slow-snapshot", "die", "deadlock", "partial", "half", "corrupt", "rate", "no-telemetry"}
    ),
}
_NUMBERS: Final[dict[str, tuple[type, ...]]] = {
    "bytes": (int,),
    "disk": (int,),
    "disks": (int,),
    "offset": (int,),
    "seconds": (int, float),
    "fraction": (int, float),
    "bytes_per_second": (int, float),
    "status": (int,),
    "body": (str,),
}
_LASTING: Final = frozenset({"vcenter", "health"})
_COMMON: Final = frozenset({"on", "mode", "vm", "job", "count"})


@dataclass
class Fault:
    """One fault; `count` uses are left, None: any number."""

    id: int
    on: str
    mode: str
    vm: str
    job: str
    left: int | None
    params: dict[str, Any] = field(default_factory=dict)
    hits: int = 0

    @property
    def shown(self) -> dict[str, Any]:
        """For an answer."""
        whose = {"vm": self.vm, "job": self.job}
        return {
            "id": self.id,
            "on": self.on,
            "mode": self.mode,
            **whose,
            "count": self.left or 0,
            "hits": self.hits,
        } | (self.params)

    def matches(self, on: str, vm_path: str, job: str) -> bool:
        """Return whether it concerns this call; a fault for a VM needs to know the call's."""
        name = vm_path.rstrip("/").rsplit("/", 1)[-1]
        return on == self.on and self.left != 0 and self.vm in ("", vm_path, name) and self.job in ("", job)

    def to_client(self) -> FaultSpec:
        """As the client process receives it."""
        known = {name: value for name, value in self.params.items() if name not in ("status", "body")}
        return FaultSpec(self.mode, **known)


class FaultTable:
    """The faults of one appliance."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._next = 1
        self._lock = threading.Lock()

    def add(self, raw: dict[str, Any]) -> Fault:
        """Return a fault as the control API describes it. Raises ValueError."""
        on, mode = raw.get("on"), raw.get("mode")
        if on not in MODES or mode not in MODES[on]:
            raise ValueError(f"no such fault; on and mode are of { ({key: sorted(MODES[key]) for key in MODES}) }")
        params = {name: value for name, value in raw.items() if name not in _COMMON and value is not None}
        for name, value in params.items():
            if name not in _NUMBERS:
                raise ValueError(f"no such parameter: {name}")
            if not isinstance(value, _NUMBERS[name]) or isinstance(value, bool):
                raise ValueError(f"wrong type of parameter: {name}")
        count = raw.get("count", 0 if on in _LASTING else 1)
        if not isinstance(count, int) or count < 0:
            raise ValueError("count is a number from 0")
        with self._lock:
            fault = Fault(
                self._next, on, mode, str(raw.get("vm") or ""), str(raw.get("job") or ""), count or None, params
            )
            self._next += 1
            self._faults.append(fault)
        return fault

    def take(self, on: str, vm_path: str = "", job: str = "") -> Fault | None:
        """Return the oldest fault that strikes now; one use of it is spent."""
        with self._lock:
            found = next((fault for fault in self._faults if fault.matches(on, vm_path, job)), None)
            return self._spend(found) if found else None

    def take_client(self, vm_path: str, job: str) -> list[Fault]:
        """Return all faults for one client, the oldest of each mode."""
        with self._lock:
            found: dict[str, Fault] = {}
            for fault in self._faults:
                if fault.matches("client", vm_path, job):
                    found.setdefault(fault.mode, fault)
            return [self._spend(fault) for fault in found.values()]

    def list(self) -> list[dict[str, Any]]:
        """Return all, also those that are used up."""
        with self._lock:
            return [fault.shown for fault in self._faults]

    def remove(self, fault_id: int | None = None) -> bool:
        """Remove one or, without an id, all; whether there was any."""
        with self._lock:
            kept = [fault for fault in self._faults if fault_id is not None and fault.id != fault_id]
            removed = len(kept) < len(self._faults)
            self._faults = kept
            return removed

    @staticmethod
    def _spend(fault: Fault) -> Fault:
        fault.hits += 1
        if fault.left is not None:
            fault.left -= 1
        return fault
