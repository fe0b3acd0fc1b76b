"""How soon the next backup of a VM starts when the one before it has ended."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import Final

from tests.support.vma import MIB, Disk
from tests.support.waiting import Impossible, until, wait_for
from tests.support.workspace import ENDS, Workspace

COUNT: Final = 10
_VM: Final = "queued"
_POLL_S: Final = 0.1


def gaps(space: Workspace) -> dict[str, float]:
    """Return seconds from the end of an increment to the next one's Job, of increments that are all created at once."""
    space.add_vm(_VM, Disk("pattern", 16 * MIB), track=True)
    space.backup("queued-full", vm=_VM, type="Full")
    space.wait_phase("Completed", "queued-full", timeout=600)
    names = [f"queued-{number}" for number in range(COUNT)]
    for name in names:
        space.backup(name, vm=_VM, type="Incremental")
    begun, ended = dict[str, float](), dict[str, float]()

    def look() -> None:
        now = time.monotonic()
        for backup in space.kube.select("Backup", space.namespace, fields=f"spec.vmRef.name={_VM}"):
            name, status = backup["metadata"]["name"], backup.get("status") or {}
            phase = status.get("phase")
            if phase in ENDS and phase != "Completed":
                raise Impossible(f"{name}: {status.get('conditions')}")
            if status.get("workerJob"):
                begun.setdefault(name, now)
            if phase == "Completed":
                ended.setdefault(name, now)
        until(all(name in ended for name in names), sorted(ended))

    wait_for(f"{COUNT} increments", look, timeout=900, interval=_POLL_S)
    order = sorted(names, key=begun.__getitem__)
    between = [begun[after] - ended[before] for before, after in pairwise(order)]
    return {"gap_seconds": statistics.median(between), "gap_most_seconds": max(between)}
