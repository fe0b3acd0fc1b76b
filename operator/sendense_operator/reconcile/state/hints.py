"""What the controller remembers between two reconciles, one class per part.

Only hints: losing all of it costs time, never a backup. Times are monotonic seconds. What one reconcile leaves for
that of another object has methods that say so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sendense_operator.answer import Answer, Capacity
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.discovery_records import DiscoveryRun
from sendense_operator.reconcile.state.recent import Recent
from sendense_operator.reconcile.state.records import RepositoryCatalogue, ScanResult
from sendense_operator.reconcile.state.vm_records import DatacenterInventory, DatacenterKey, VMLookup
from sendense_operator.vma.messages import MAX_VMS

CATALOGUES_SIZE: Final = 96 << 20
"""Bytes of all catalogues in memory: a repository whose catalogue goes waits for its next pod, as after a restart."""

_MANY: Final = 20_000
"""Backups or VMs that may wait at once: forgetting one that waits makes it begin anew, and ask vCenter again."""


@dataclass
class WatchHints:
    """What the watches saw."""

    answers: Recent[str, Answer] = field(default_factory=lambda: Recent(500))
    """By Backup UID (a probe's: by Job UID): answers of workers whose pods were seen to go."""
    waited_for: Recent[str, tuple[object, ...]] = field(default_factory=lambda: Recent(_MANY))
    """By UID of a repository, a VM or an appliance: what Backups may wait for of it, as last reported."""
    looked_up: Recent[str, tuple[int, int]] = field(default_factory=lambda: Recent(_MANY))
    """By UID of a VM, as last reported: hashes of all but how recent its newest restore point is, and of that."""


@dataclass
class BackupHints:
    """What reconciles of Backups remember."""

    first_seen: Recent[str, float] = field(default_factory=lambda: Recent(_MANY))
    """By Backup UID: when this process first saw it."""
    written: Recent[str, float] = field(default_factory=lambda: Recent(_MANY))
    """By Backup UID: when its status was last written."""
    unreachable: Recent[str, float] = field(default_factory=lambda: Recent(_MANY))
    """By Backup UID: since when it waits for an appliance that does not answer."""
    first_polled: Recent[str, float] = field(default_factory=Recent)
    """By pod UID: when the worker was first asked, in vain."""
    polled: Recent[str, float] = field(default_factory=Recent)
    """By pod UID: when the worker was last asked."""
    reached: Recent[str, float] = field(default_factory=Recent)
    """By pod UID: when the worker last answered."""
    cancelling: Recent[str, float] = field(default_factory=Recent)
    """By Backup UID: when its worker was first requested to cancel."""
    cancel_heard: Recent[str, float] = field(default_factory=Recent)
    """By pod UID: when the worker heard so."""
    orphaned: Recent[str, float] = field(default_factory=Recent)
    """By Backup UID: since when it is to be cancelled, and its pods go on because nothing requests them to stop."""
    _created: Recent[str, bool] = field(default_factory=lambda: Recent(_MANY))

    def note_created_by_scan(self, uid: str) -> None:
        """Leave for the reconcile of a new Backup that no other object owned its restore point."""
        self._created.put(uid, True)

    def was_created_by_scan(self, uid: str) -> bool:
        """Return whether a scan of this process created the Backup."""
        return self._created.get(uid) is not None


class RepositoryMessages:
    """What reconciles of Backups, of chains and of a repository itself leave for the repository's next reconcile."""

    def __init__(self) -> None:
        self._probes: set[ObjectKey] = set()
        self._scans: set[ObjectKey] = set()
        self._claims: set[ObjectKey] = set()
        self._capacities: Recent[ObjectKey, Capacity] = Recent()

    def request_probe(self, key: ObjectKey) -> None:
        """Have it checked now, since a backup failed because of it, or a chain in use is free."""
        self._probes.add(key)

    def is_probe_requested(self, key: ObjectKey) -> bool:
        """Return whether a maintenance pod is to be started before the next one is due."""
        return key in self._probes

    def withdraw_probe_request(self, key: ObjectKey) -> None:
        """Drop the request, since a maintenance pod was started."""
        self._probes.discard(key)

    def request_scan(self, key: ObjectKey) -> bool:
        """Have all of it listed: a parent was damaged, or a backup may have committed unseen. False: it is known."""
        known = key in self._scans
        self._scans.add(key)
        return not known

    def is_scan_requested(self, key: ObjectKey) -> bool:
        """Return whether a scan is to be made before the next one is due."""
        return key in self._scans

    def withdraw_scan_request(self, key: ObjectKey) -> None:
        """Drop the request, since a scan was made."""
        self._scans.discard(key)

    def request_claim(self, key: ObjectKey) -> None:
        """Have Jobs of chains let go of a ReadWriteOncePod claim, since a maintenance pod needs it."""
        self._claims.add(key)

    def is_claim_requested(self, key: ObjectKey) -> bool:
        """Return whether a maintenance pod waits for the claim."""
        return key in self._claims

    def withdraw_claim_request(self, key: ObjectKey) -> None:
        """Drop the request, since a maintenance pod was started."""
        self._claims.discard(key)

    def report_capacity(self, key: ObjectKey, capacity: Capacity) -> None:
        """Leave what a backup found that just ended."""
        self._capacities.put(key, capacity)

    def has_capacity(self, key: ObjectKey) -> bool:
        """Return whether a backup has ended since the status was written."""
        return self._capacities.get(key) is not None

    def take_capacity(self, key: ObjectKey) -> Capacity | None:
        """Return what the latest backup found, once."""
        return self._capacities.pop(key)


@dataclass
class RepositoryHints:
    """What is known of repositories, for all who work with restore points."""

    catalogues: Recent[ObjectKey, RepositoryCatalogue] = field(
        default_factory=lambda: Recent(200, weigh=lambda known: known.size, most=CATALOGUES_SIZE)
    )
    """What its pods reported about restore points."""
    point_counts: Recent[ObjectKey, int] = field(default_factory=Recent)
    """Restore points of all its chains, until the reconcile of one of them sees another number."""


@dataclass
class MaintenanceHints:
    """What the reconcile of a repository remembers of its maintenance pods."""

    reported: Recent[str, ScanResult] = field(default_factory=lambda: Recent(8))
    """By Job UID: what a pod reported that is being acted on; shares its points with the catalogue."""
    backoffs: Recent[tuple[str, str], Backoff] = field(default_factory=Recent)
    """By UID of the repository and step: what its pods did not bring about."""


@dataclass
class ChainJobHints:
    """What reconciles of chains remember of one kind of Jobs that work on chains."""

    waiting: dict[ObjectKey, dict[str, float]] = field(default_factory=dict)
    """By BackupRepository: chains that wait for a slot, the first one first, and when each was last checked."""
    failures: Recent[str, Backoff] = field(default_factory=Recent)
    """By UID of the chain: pods in a row that ended without a result."""


@dataclass
class RestoreHints:
    """What reconciles of Restores remember."""

    written: Recent[str, float] = field(default_factory=Recent)
    """By Restore UID: when its status was last written."""
    reached: Recent[str, float] = field(default_factory=Recent)
    """By pod UID: when the worker last answered, or was first requested to in vain."""
    stopping: Recent[str, float] = field(default_factory=Recent)
    """By Restore UID: when its worker was first requested to stop."""


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


@dataclass
class VCenterHints:
    """What is known of vCenter's VMs."""

    lookups: Recent[str, VMLookup] = field(default_factory=lambda: Recent(_MANY))
    """By ProtectedVM UID."""
    failures: Recent[str, int] = field(default_factory=lambda: Recent(_MANY))
    """By ProtectedVM UID: lookups that failed in a row."""
    listings: Recent[DatacenterKey, DatacenterInventory] = field(
        default_factory=lambda: Recent(256, weigh=lambda listing: listing.inventory.size, most=MAX_VMS)
    )
    _discoveries_requested: set[ObjectKey] = field(default_factory=set)

    def request_discovery(self, appliance: ObjectKey) -> None:
        """Have an appliance's discovery not wait, since a VM was moved."""
        self._discoveries_requested.add(appliance)

    def is_discovery_requested(self, appliance: ObjectKey) -> bool:
        """Return whether a VM was moved since the last discovery began."""
        return appliance in self._discoveries_requested

    def withdraw_discovery_request(self, appliance: ObjectKey) -> None:
        """Drop the request, since a discovery begins."""
        self._discoveries_requested.discard(appliance)


@dataclass
class ApplianceHints:
    """What the reconciles of an appliance and of its discovery remember."""

    checked: Recent[str, float] = field(default_factory=Recent)
    """By appliance UID: when its health was last asked for."""
    failures: Recent[str, int] = field(default_factory=Recent)
    """By appliance UID: checks that failed in a row."""
    runs: Recent[ObjectKey, DiscoveryRun] = field(default_factory=lambda: Recent(256))
    """Its last or present discovery."""
    failed_runs: Recent[ObjectKey, int] = field(default_factory=Recent)
    """Discoveries that failed in a row."""
