"""Series of BackupPolicies. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from prometheus_client.core import GaugeMetricFamily

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.api.v1alpha1.backuppolicy import BackupPolicySpec, BackupPolicyStatus
from sendense_operator.cluster.objects import Obj
from sendense_operator.controller.metrics.families import gauge
from sendense_operator.controller.metrics.state_records import NamedRecord, read_model, seconds


@dataclass(frozen=True, slots=True)
class PolicyRecord(NamedRecord):
    """What is kept of a BackupPolicy. Times are seconds since the epoch."""

    suspended: bool = False
    max_age: int | None = None
    """Seconds that the newest restore point of its VMs may be old; None: it has no objective."""
    vms: int | None = None
    last: float | None = None
    next: float | None = None

    @classmethod
    def of(cls, obj: Obj) -> Self:
        """From a BackupPolicy. Raises KeyError for what can't be one."""
        meta = obj["metadata"]
        spec = read_model(BackupPolicySpec, obj.get("spec"))
        status = read_model(BackupPolicyStatus, obj.get("status"))
        if spec is None or status is None:
            return cls(meta["uid"], meta["namespace"], meta["name"])
        return cls(
            meta["uid"],
            meta["namespace"],
            meta["name"],
            spec.suspend,
            spec.objective.max_age_seconds if spec.objective is not None else None,
            status.vms,
            seconds(status.last_time),
            seconds(status.next_time),
        )


def policy_families(records: Sequence[PolicyRecord]) -> Iterator[GaugeMetricFamily]:
    """Yield the series of BackupPolicies."""
    yield gauge(catalogue.POLICY_SUSPENDED, ((one.key, int(one.suspended)) for one in records))
    yield gauge(catalogue.POLICY_VMS, ((one.key, one.vms) for one in records))
    yield gauge(catalogue.POLICY_LAST, ((one.key, one.last) for one in records))
    yield gauge(catalogue.POLICY_NEXT, ((one.key, one.next) for one in records))
