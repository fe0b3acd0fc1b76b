"""Series of BackupChains. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from prometheus_client.core import GaugeMetricFamily

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backupchain import PointState
from sendense_operator.cluster.objects import Obj
from sendense_operator.controller.metrics.families import gauge
from sendense_operator.controller.metrics.state_records import NOT_REPORTED, seconds_of, verdict_of
from sendense_operator.reconcile.consolidation.consolidation_results import known_obstacle
from sendense_operator.reconcile.state.keys import ChainKey


@dataclass(frozen=True, slots=True)
class ChainRecord:
    """What is kept of a BackupChain. Times are seconds since the epoch."""

    uid: str
    namespace: str
    vm: str
    repository: str
    points: int
    damaged: int
    depth: int
    stored: int
    latest: float | None
    """When the content of its newest usable restore point was taken."""
    verified: float | None
    """When its last verification ended."""
    slot: float | None
    """The slot of the policy's verification that is still open."""
    verdict: int
    """Status of the condition Verified: 1, 0, or -1 for Unknown."""
    reason: str
    """Its reason; empty: there is no such condition."""
    consolidated: float | None
    """When its last consolidation ended."""
    merges: int
    """Layers that it wrote."""
    freed: int
    """Bytes that it freed."""
    obstacle: str
    """Why layers are left alone that should be merged; empty: there is nothing."""

    @property
    def labels(self) -> tuple[str, str, str]:
        """Namespace, VM and repository."""
        return self.namespace, self.vm, self.repository

    @classmethod
    def of(cls, obj: Obj) -> Self:
        """From a BackupChain. Raises KeyError for what can't be one."""
        meta, status = obj["metadata"], obj.get("status") or {}
        key, verification = ChainKey.of(obj), status.get("verification") or {}
        consolidation = status.get("consolidation") or {}
        schedule = verification.get("schedule") or {}
        verified = conditions.find(status.get("conditions") or (), conditions.VERIFIED)
        states = (point.get("state") for point in status.get("restorePoints") or ())
        return cls(
            uid=meta["uid"],
            namespace=sys.intern(meta["namespace"]),
            vm=sys.intern(key.vm),
            repository=sys.intern(key.repository),
            points=status.get("points", 0),
            damaged=sum(state == PointState.DAMAGED for state in states),
            depth=status.get("depth", 0),
            stored=status.get("storedBytes", 0),
            latest=seconds_of(status.get("latestUsableTime")),
            verified=seconds_of(verification.get("lastTime")),
            slot=seconds_of(schedule.get("slot")) if schedule.get("open") else None,
            verdict=verdict_of((verified or {}).get("status")),
            reason=sys.intern(verified.get("reason") or NOT_REPORTED) if verified is not None else "",
            consolidated=seconds_of(consolidation.get("lastTime")),
            merges=consolidation.get("lastMerges", 0),
            freed=consolidation.get("lastFreedBytes", 0),
            obstacle=_obstacle(consolidation),
        )


def _obstacle(consolidation: Obj) -> str:
    """Return a reason of a closed list."""
    failed = consolidation.get("problem") and consolidation.get("tries")
    return sys.intern(known_obstacle(consolidation.get("left", "")) or ("ConsolidationFailed" if failed else ""))


def chain_families(records: Sequence[ChainRecord]) -> Iterator[GaugeMetricFamily]:
    """Yield the series of BackupChains."""
    yield gauge(catalogue.CHAIN_POINTS, ((one.labels, one.points) for one in records))
    yield gauge(catalogue.CHAIN_DAMAGED, ((one.labels, one.damaged) for one in records))
    yield gauge(catalogue.CHAIN_DEPTH, ((one.labels, one.depth) for one in records))
    yield gauge(catalogue.CHAIN_STORED, ((one.labels, one.stored) for one in records))
    yield gauge(catalogue.CHAIN_NEWEST_POINT, ((one.labels, one.latest) for one in records))
    yield gauge(catalogue.CHAIN_VERIFIED, ((one.labels, one.verified) for one in records))
    yield gauge(catalogue.CHAIN_SLOT, ((one.labels, one.slot) for one in records))
    judged = (one for one in records if one.reason)
    yield gauge(catalogue.CHAIN_VERIFICATION, (((*one.labels, one.reason), one.verdict) for one in judged))
    merged = [one for one in records if one.consolidated is not None]
    yield gauge(catalogue.CHAIN_CONSOLIDATED, ((one.labels, one.consolidated) for one in merged))
    yield gauge(catalogue.CHAIN_MERGES, ((one.labels, one.merges) for one in merged))
    yield gauge(catalogue.CHAIN_FREED, ((one.labels, one.freed) for one in merged))
    yield gauge(catalogue.CHAIN_OBSTACLE, (((*one.labels, one.obstacle), 1) for one in records if one.obstacle))
