"""Series of Restores. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from prometheus_client.core import GaugeMetricFamily

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.cluster.objects import Obj
from sendense_operator.controller.metrics.families import gauge
from sendense_operator.controller.metrics.state_records import seconds_of

_PHASES = frozenset(Phase)


@dataclass(frozen=True, slots=True)
class RestoreRecord:
    """What is kept of a Restore."""

    uid: str
    namespace: str
    phase: str
    created: float | None
    """Seconds since the epoch."""

    @classmethod
    def of(cls, obj: Obj) -> Self:
        """From a Restore. Raises KeyError for what can't be one."""
        meta, phase = obj["metadata"], (obj.get("status") or {}).get("phase")
        known = phase if phase in _PHASES else Phase.PENDING.value
        return cls(meta["uid"], meta["namespace"], str(known), seconds_of(meta.get("creationTimestamp")))


def restore_families(records: Sequence[RestoreRecord]) -> Iterator[GaugeMetricFamily]:
    """Yield the series of Restores."""
    counts = Counter((one.namespace, one.phase) for one in records)
    yield gauge(catalogue.RESTORES, counts.items())
    oldest = dict[tuple[str], float]()
    for one in records:
        if one.phase == Phase.PENDING and one.created is not None:
            key = (one.namespace,)
            oldest[key] = min(one.created, oldest.get(key, one.created))
    yield gauge(catalogue.RESTORES_OLDEST_PENDING, oldest.items())
