"""What the controller found out and keeps for a while; below everything that finds out or keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sendense_operator.catalogue_format import ChainRecord, PointRecord, RootRecord, TombstoneRecord
from sendense_operator.reconcile.state.packed_points import OVERHEAD, PackedPoints

RECORD_SIZE: Final = 2048
"""Bytes of memory for a record that is kept as it came, about."""


@dataclass(frozen=True, slots=True)
class KnownBackup:
    """What a scan has to know of a Backup. All else of it would cost memory, for there may be tens of thousands."""

    name: str
    uid: str
    """Of the object."""
    point_uid: str
    """By which the repository knows its restore point."""
    vm: str
    phase: str
    is_deleting: bool
    ended: datetime | None
    """Its `status.completionTime`."""
    damage: str
    """Message of its condition Damaged; empty without one."""
    adopted: datetime | None
    """When it was made for a restore point that was found, by the API server's clock; None: it was not."""
    created: datetime
    """Creation of the object, by the API server's clock."""
    manifest: str = ""
    """Its `status.manifest`."""
    job_id: str = ""
    """Its `status.jobID`."""
    is_restored: bool = False
    """Whether another tool created it from a copy without status: see `ownership.is_restored`."""
    is_identified: bool = False
    """Whether `point_uid` was found by what a copy says, and its status does not have it yet."""
    is_refused: bool = False
    """Whether it failed because another object owned its restore point: it gets that point never after either."""
    layers: int = 0
    """Number for the layers that its status names, see `layer_marks`; 0: it names none."""
    has_hardware: bool = True
    """Whether its status has the VM's hardware."""


@dataclass(frozen=True)
class ChainView:
    """A chain as the last maintenance pod reported it."""

    chain: ChainRecord
    taken: datetime
    """Creation of that pod's Job, by the API server's clock: what was committed later is not in here."""
    points: Mapping[str, PointRecord] = field(default_factory=dict)
    """Restore points by the UID of the Backup that made them."""
    tombstones: Mapping[str, TombstoneRecord] = field(default_factory=dict)
    """Removed ones whose files are not all freed, by the same UID."""
    asked: frozenset[str] = frozenset()
    """UIDs that this pod had to remove: one that is neither point nor tombstone afterwards is gone for good."""

    @property
    def size(self) -> int:
        """Bytes of memory that it takes, about."""
        packed = self.points.size if isinstance(self.points, PackedPoints) else RECORD_SIZE * len(self.points)
        return packed + RECORD_SIZE * (len(self.tombstones) + 1) + OVERHEAD * len(self.asked)


@dataclass(frozen=True)
class RepositoryCatalogue:
    """A repository's chains. Known to this process only; a restarted one waits for the next pod's word."""

    taken: datetime | None
    """Creation of the last complete scan's Job, by the API server's clock; None: there was none."""
    chains: Mapping[str, ChainView]
    """By ProtectedVM. A chain with removals has a view even if it has no folder any more."""
    repository_id: str = ""
    """Identity of the repository, which its status may only tell a moment later."""

    @property
    def size(self) -> int:
        """Bytes of memory that it takes, about."""
        return sum(view.size for view in self.chains.values())


@dataclass(frozen=True)
class ScanResult:
    """What one maintenance pod reported about a repository's restore points."""

    taken: datetime
    """Creation of its Job."""
    chains: Mapping[str, ChainView]
    """By ProtectedVM."""
    root: RootRecord | None = None
    """None: it was requested to remove only, and reported only the chains concerned."""
    repository_id: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether all of the repository was listed."""
        listed = self.root is not None and self.root.complete
        return listed and all(view.chain.complete for view in self.chains.values())

    def knows_all_of(self, vm: str) -> bool:
        """Return whether a restore point of that VM that is not reported is not there."""
        if self.root is None or not self.root.complete:
            return False
        view = self.chains.get(vm)
        return view is None or view.chain.complete

    def points_beside(self, known: Set[str]) -> Iterator[PointRecord]:
        """Restore points of other UIDs, the oldest first, one at a time."""
        found = [
            (point.finished, point.sequence, uid, view.points)
            for view in self.chains.values()
            for uid in view.points.keys() - known
            for point in (view.points[uid],)
        ]
        found.sort(key=lambda place: place[:3])
        return (points[uid] for _, _, uid, points in found)
