"""What the controller remembers between two checks. Only hints: losing all of it costs time, never a backup."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from sendense_operator.api.v1alpha1.backuprepository import Catalogue
from sendense_operator.reconcile.state.discovery_records import DiscoveryRun
from sendense_operator.reconcile.state.records import RepositoryCatalogue, ScanResult
from sendense_operator.reconcile.state.unrouted_calls import UnroutedCalls
from sendense_operator.reconcile.state.vm_records import DatacenterInventory, VMLookup
from sendense_operator.task import Answer, Capacity
from sendense_operator.vma.messages import MAX_VMS

V = TypeVar("V")

CATALOGUES_SIZE: Final = 96 << 20
"""Bytes of all catalogues in memory: a repository whose catalogue goes waits for its next pod, as after a restart."""

_MANY: Final = 20_000
"""Backups or VMs that may wait at once: forgetting one that waits makes it begin anew, and ask vCenter again."""


class Recent(Generic[V]):
    """The latest values by key; the oldest go when there are too many, or when together they weigh more than `most`."""

    def __init__(self, limit: int = 2000, *, weigh: Callable[[V], int] | None = None, most: int = sys.maxsize) -> None:
        self._limit = limit
        self._weigh = weigh
        self._most = most
        self._values: OrderedDict[str, V] = OrderedDict()

    def put(self, key: str, value: V) -> None:
        """Remember."""
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > self._limit:
            self._values.popitem(last=False)
        if self._weigh is not None:
            self._drop_weight(self._weigh)

    def _drop_weight(self, weigh: Callable[[V], int]) -> None:
        """Forget the oldest until the rest weighs at most `most`. Values grow while they are kept: all are weighed."""
        total = sum(map(weigh, self._values.values()))
        while total > self._most:
            _, gone = self._values.popitem(last=False)
            total -= weigh(gone)

    def get(self, key: str) -> V | None:
        """Return what is remembered, or None."""
        return self._values.get(key)

    def values(self) -> list[V]:
        """Return all that is remembered, the oldest first."""
        return list(self._values.values())

    def pop(self, key: str) -> V | None:
        """Return what is remembered, for the last time."""
        return self._values.pop(key, None)


@dataclass
class Hints:
    """All hints. Times are monotonic seconds."""

    answers: Recent[Answer] = field(default_factory=lambda: Recent(500))
    """By Backup UID (a probe's: by Job UID): answers of workers whose pods were seen to go."""
    sightings: UnroutedCalls = field(default_factory=UnroutedCalls)
    """What gateways saw of calls that reach no worker."""
    first_seen: Recent[float] = field(default_factory=lambda: Recent(_MANY))
    """By Backup UID: when this process first saw it."""
    polled: Recent[float] = field(default_factory=Recent)
    """By pod UID: when the worker was last asked."""
    written: Recent[float] = field(default_factory=lambda: Recent(_MANY))
    """By Backup UID: when its status was last written."""
    reached: Recent[float] = field(default_factory=Recent)
    """By pod UID: when the worker last answered."""
    orphaned: Recent[float] = field(default_factory=Recent)
    cancelling: Recent[float] = field(default_factory=Recent)
    """By Backup UID: when its worker was first requested to cancel."""
    cancel_heard: Recent[float] = field(default_factory=Recent)
    """By pod UID: when the worker heard so."""
    """By Backup UID: since when it is to be cancelled, and its pods go on because nothing tells them to stop."""
    tries: Recent[int] = field(default_factory=lambda: Recent(_MANY))
    """By object UID: how often something failed in a row."""
    capacities: Recent[Capacity] = field(default_factory=Recent)
    """By namespace/repository: what a backup that just ended found."""
    waited_for: Recent[tuple[object, ...]] = field(default_factory=lambda: Recent(_MANY))
    """By UID of a repository, a VM or an appliance: what Backups may wait for of it, as last reported."""
    probe_wanted: set[str] = field(default_factory=set)
    """namespace/repository: a backup failed because of it, so it is to be checked now."""
    holds: Recent[Backoff] = field(default_factory=Recent)
    """By UID of a repository and duty: what its pods did not bring about."""
    summaries: Recent[Catalogue] = field(default_factory=Recent)
    """By namespace/repository: what a scan found, until it is in the status."""
    scan_wanted: set[str] = field(default_factory=set)
    """namespace/repository: a backup found its parent damaged, or may have committed unseen, so all of it is to be
    listed."""
    catalogues: Recent[RepositoryCatalogue] = field(
        default_factory=lambda: Recent(200, weigh=lambda known: known.size, most=CATALOGUES_SIZE)
    )
    """By namespace/repository: what its pods reported about restore points."""
    points: Recent[int] = field(default_factory=Recent)
    """By namespace/repository: restore points of all its chains, until one of them changes."""
    failures: Recent[int] = field(default_factory=Recent)
    """By key of the work queue: reconciles that failed in a row."""
    created: Recent[bool] = field(default_factory=lambda: Recent(_MANY))
    """By Backup UID: objects that a scan created for restore points that no other object owned."""
    reported: Recent[ScanResult] = field(default_factory=lambda: Recent(8))
    """By Job UID: what a pod reported that is being acted on; shares its points with `catalogues`."""
    unreachable: Recent[float] = field(default_factory=lambda: Recent(_MANY))
    """By Backup UID: since when it waits for an appliance that does not answer."""
    discoveries: Recent[VMLookup] = field(default_factory=lambda: Recent(_MANY))
    """By ProtectedVM UID."""
    listings: Recent[DatacenterInventory] = field(
        default_factory=lambda: Recent(256, weigh=lambda listing: listing.inventory.size, most=MAX_VMS)
    )
    """By `DatacenterInventory.key`."""
    runs: Recent[DiscoveryRun] = field(default_factory=lambda: Recent(256))
    """By namespace/appliance: its last or present discovery."""
    discovery_wanted: set[str] = field(default_factory=set)
    """namespace/appliance: a VM was moved, so its discovery is not to wait."""
    health: Recent[float] = field(default_factory=Recent)
    """By appliance UID: when it was last asked."""


@dataclass(frozen=True)
class Backoff:
    """Something that failed and is not tried again for a while."""

    until: float
    """Monotonic seconds."""
    tries: int
    """How often it failed in a row."""
    request: str
    """Value of the annotation that had asked for it."""
    why: str
