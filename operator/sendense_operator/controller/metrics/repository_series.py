"""Series of BackupRepositories. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from prometheus_client.core import GaugeMetricFamily

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec, BackupRepositoryStatus
from sendense_operator.cluster.objects import Obj
from sendense_operator.controller.metrics.families import gauge
from sendense_operator.controller.metrics.state_records import NamedRecord, is_ready, read_model, seconds
from sendense_operator.metric_catalogue import Metric
from sendense_operator.object_key import ObjectKey


@dataclass(frozen=True, slots=True)
class RepositoryRecord(NamedRecord):
    """What is kept of a BackupRepository. Times are seconds since the epoch."""

    ready: bool = False
    capacity: int | None = None
    free: int | None = None
    min_free: int | None = None
    points: int | None = None
    damaged: int | None = None
    """None: never scanned."""
    lost: int | None = None
    slots: int | None = None
    used: int | None = None
    probed: float | None = None
    scanned: float | None = None

    @classmethod
    def of(cls, obj: Obj) -> Self:
        """From a BackupRepository. Raises KeyError for what can't be one."""
        meta = obj["metadata"]
        spec = read_model(BackupRepositorySpec, obj.get("spec"))
        status = read_model(BackupRepositoryStatus, obj.get("status"))
        if spec is None or status is None:
            return cls(meta["uid"], meta["namespace"], meta["name"])
        capacity, scan = status.capacity, status.catalogue
        return cls(
            meta["uid"],
            meta["namespace"],
            meta["name"],
            ready=is_ready(status.conditions),
            capacity=capacity.total_bytes if capacity is not None else None,
            free=capacity.free_bytes if capacity is not None else None,
            min_free=spec.min_free_bytes,
            points=status.points,
            damaged=scan.damaged if scan is not None else None,
            lost=scan.lost if scan is not None else None,
            slots=spec.max_concurrent_backups,
            used=status.active_backups,
            probed=seconds(status.last_probe_time),
            scanned=seconds(scan.time) if scan is not None else None,
        )


_SERIES: Final[tuple[tuple[Metric, Callable[[RepositoryRecord], float | None]], ...]] = (
    (catalogue.REPOSITORY_READY, lambda one: int(one.ready)),
    (catalogue.REPOSITORY_CAPACITY, lambda one: one.capacity),
    (catalogue.REPOSITORY_FREE, lambda one: one.free),
    (catalogue.REPOSITORY_MINIMUM, lambda one: one.min_free),
    (catalogue.REPOSITORY_POINTS, lambda one: one.points),
    (catalogue.REPOSITORY_DAMAGED, lambda one: one.damaged),
    (catalogue.REPOSITORY_LOST, lambda one: one.lost),
    (catalogue.REPOSITORY_SLOTS, lambda one: one.slots),
    (catalogue.REPOSITORY_USED, lambda one: one.used),
    (catalogue.REPOSITORY_PROBED, lambda one: one.probed),
    (catalogue.REPOSITORY_SCANNED, lambda one: one.scanned),
)


def repository_families(
    records: Sequence[RepositoryRecord], queued: Mapping[ObjectKey, int]
) -> Iterator[GaugeMetricFamily]:
    """Yield the series of BackupRepositories. `queued`: how many Backups wait for their turn, by repository."""
    for metric, value_of in _SERIES:
        yield gauge(metric, ((one.key, value_of(one)) for one in records))
    yield gauge(catalogue.REPOSITORY_QUEUED, ((one.key, queued.get(one.key, 0)) for one in records))
