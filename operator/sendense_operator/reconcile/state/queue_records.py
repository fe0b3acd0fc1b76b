"""Backups that wait for a slot and workers that occupy one, as the admission rules see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.keys import ChainKey
from sendense_operator.reconcile.state.kubernetes_objects import QueuePlace, queue_place


@dataclass(frozen=True)
class Limits:
    """What the objects that a Backup refers to allow."""

    repository_slots: int
    appliance_slots: int
    port_range: tuple[int, int] | None = None
    """For HostPort: lowest and highest port. None: no ports of the node are needed."""


@dataclass(frozen=True)
class Candidate:
    """A Backup that has all it needs, but for its turn."""

    namespace: str
    name: str
    vm: str
    vm_key: str
    repository: str
    appliance: str
    disks: int
    limits: Limits
    vm_identity: str = ""
    """The same for all that back up one VM of a vCenter; empty: not known."""


@dataclass(frozen=True)
class RunningJob:
    """A worker's Job that has not ended."""

    namespace: str
    job: str
    vm: str
    vm_key: str
    repository: str
    appliance: str
    ports: frozenset[int] = frozenset()
    vm_identity: str = ""
    """Empty on a Job of an older operator."""


@dataclass(frozen=True)
class Admitted:
    """It may start."""

    host_ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class Waits:
    """It waits, and this is what for."""

    reason: str
    message: str
    position: int = 0
    """1: next in the queue. 0: it waits for something else than a slot."""


AdmissionDecision = Admitted | Waits


@dataclass(frozen=True)
class QueuedBackup:
    """A Backup that waits for its turn, as it was a moment ago."""

    place: QueuePlace
    candidate: Candidate
    verdict: AdmissionDecision


@dataclass
class QueueSnapshot:
    """Who runs and who waits in one namespace, a moment ago.

    Shared for a second, so that a queue of hundreds is read once and decided on once.
    """

    taken: float
    running: Sequence[RunningJob]
    """Of all namespaces."""
    exclusive: dict[str, bool] = field(default_factory=dict)
    """By claim of a repository: whether one pod at a time may use it; filled when somebody wants to know."""
    queue: Mapping[str, QueuedBackup] = field(default_factory=dict)
    """By UID, the first one first."""
    elders: Mapping[ChainKey, QueuePlace] = field(default_factory=dict)
    """By chain of this namespace: the first Backup that has no worker yet, whatever it waits for."""

    def elder_of(self, backup: Obj) -> str | None:
        """Return the name of the Backup of the same chain that starts before this one, None: it is the first."""
        first = self.elders.get(ChainKey.of(backup))
        return first[-1] if first is not None and first < queue_place(backup) else None
