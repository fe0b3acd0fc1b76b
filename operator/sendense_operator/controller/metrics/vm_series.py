"""Series of ProtectedVMs: how recent the newest restore point is, and what the last Backup was like. Pure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from prometheus_client.core import GaugeMetricFamily

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.cluster.objects import Obj
from sendense_operator.controller.metrics.backup_series import BackupNumbers, VMBackups, known
from sendense_operator.controller.metrics.families import gauge
from sendense_operator.controller.metrics.policy_series import PolicyRecord
from sendense_operator.controller.metrics.state_records import NOT_REPORTED, NamedRecord, seconds_of, verdict_of
from sendense_operator.metric_catalogue import Metric
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting


@dataclass(frozen=True, slots=True)
class VMRecord(NamedRecord):
    """What is kept of a ProtectedVM. Times are seconds since the epoch."""

    appliance: str
    policy: str
    """Empty: none backs it up."""
    created: float | None
    latest: float | None
    """When the content of its newest usable restore point was taken."""
    verdict: int
    """Status of the condition Protected: 1, 0, or -1 for Unknown."""
    reason: str
    vanished: bool
    deleting: bool

    @classmethod
    def of(cls, obj: Obj) -> Self:
        """From a ProtectedVM. Raises KeyError for what can't be one."""
        meta, status = obj["metadata"], obj.get("status") or {}
        protected = conditions.find(status.get("conditions") or (), conditions.PROTECTED) or {}
        return cls(
            meta["uid"],
            sys.intern(meta["namespace"]),
            meta["name"],
            sys.intern(obj["spec"]["applianceRef"]["name"]),
            sys.intern(status.get("policy") or ""),
            seconds_of(meta.get("creationTimestamp")),
            seconds_of(status.get("latestTime")),
            verdict_of(protected.get("status")),
            sys.intern(protected.get("reason") or NOT_REPORTED),
            bool(status.get("vanishedTime")),
            is_deleting(obj),
        )


_LAST: Final[tuple[tuple[Metric, Callable[[BackupNumbers], float]], ...]] = (
    (catalogue.VM_LAST_END, lambda last: last.ended),
    (catalogue.VM_LAST_DURATION, lambda last: last.duration),
    (catalogue.VM_LAST_RECEIVED, lambda last: last.received),
    (catalogue.VM_LAST_GUEST, lambda last: last.guest),
    (catalogue.VM_LAST_STORED, lambda last: last.stored),
)


def vm_families(
    records: Sequence[VMRecord], policies: Mapping[ObjectKey, PolicyRecord], backups: Mapping[ObjectKey, VMBackups]
) -> Iterator[GaugeMetricFamily]:
    """Yield the series of ProtectedVMs. One that is being deleted has none."""
    vms = [vm for vm in records if not vm.deleting]
    rulers = {vm.key: policies.get(ObjectKey(vm.namespace, vm.policy)) for vm in vms}
    yield gauge(catalogue.VM_INFO, (((*vm.key, vm.appliance, vm.policy), 1) for vm in vms))
    yield gauge(catalogue.VM_CREATED, ((vm.key, vm.created) for vm in vms))
    yield gauge(catalogue.VM_NEWEST_POINT, ((vm.key, vm.latest) for vm in vms))
    yield gauge(catalogue.VM_NEVER, ((vm.key, 1) for vm in vms if vm.latest is None))
    yield gauge(catalogue.VM_OBJECTIVE, ((key, ruler.max_age) for key, ruler in rulers.items() if ruler))
    yield gauge(catalogue.VM_PROTECTION, (((*vm.key, vm.reason), vm.verdict) for vm in vms))
    yield gauge(catalogue.VM_SUSPENDED, ((key, 1) for key, ruler in rulers.items() if ruler and ruler.suspended))
    yield gauge(catalogue.VM_VANISHED, ((vm.key, 1) for vm in vms if vm.vanished))
    found = {vm.key: backups[vm.key] for vm in vms if vm.key in backups}
    yield gauge(catalogue.VM_FAILURES, ((key, of_vm.failures) for key, of_vm in found.items()))
    last = {key: of_vm.last for key, of_vm in found.items() if of_vm.last is not None}
    for metric, value_of in _LAST:
        yield gauge(metric, ((key, known(value_of(numbers))) for key, numbers in last.items()))
