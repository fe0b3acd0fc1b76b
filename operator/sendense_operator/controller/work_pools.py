"""Which pieces of work share workers, so that what waits for an appliance holds up nothing else."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from sendense_operator.reconcile.state.keys import Key, Work


class Pool(StrEnum):
    """Pools of the work queue."""

    OBJECTS = "objects"
    """What asks the API server and workers, which answer soon; Backups ask an appliance only when it is their turn."""
    APPLIANCES = "appliances"
    """What asks appliances, which may be silent for as long as their time-out lets them."""
    HEARTBEAT = "heartbeat"
    """Proof that the queue hands out work; it must not depend on how long other work takes."""


_ASK_APPLIANCES: Final = frozenset({Work.VM, Work.APPLIANCE, Work.DISCOVERY})


def pool_of(key: Key) -> Pool:
    """Return the pool of a key."""
    if key.work is Work.HEARTBEAT:
        return Pool.HEARTBEAT
    return Pool.APPLIANCES if key.work in _ASK_APPLIANCES else Pool.OBJECTS


def pool_sizes(workers: int) -> dict[str, int]:
    """Return the workers of each pool: `workers` for objects, half as many for appliances."""
    return {Pool.OBJECTS: workers, Pool.APPLIANCES: max(workers // 2, 1), Pool.HEARTBEAT: 1}
