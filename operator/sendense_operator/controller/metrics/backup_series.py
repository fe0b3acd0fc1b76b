"""Series of Backups, and what they say of the VMs, repositories and appliances that they name. Pure."""

from __future__ import annotations

import math
import struct
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple, Self

from prometheus_client.core import GaugeMetricFamily

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.cluster.objects import Obj
from sendense_operator.controller.metrics.families import gauge
from sendense_operator.controller.metrics.state_records import NOT_REPORTED, reason_of, seconds_of
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.backups.start_queue import QUEUED

_PACKED: Final = struct.Struct("6d")
MAX_REASONS: Final = 100
"""Reasons that have a series of their own, far more than there are; all others together are `Other`."""


class BackupGroup(NamedTuple):
    """Labels of the number of Backups."""

    namespace: str
    phase: str
    type: str
    reason: str


class BackupNumbers(NamedTuple):
    """Numbers of a Backup; NaN: not known. Times are seconds since the epoch."""

    created: float
    ended: float
    duration: float
    received: float
    guest: float
    stored: float


@dataclass(frozen=True, slots=True)
class BackupRecord:
    """What is kept of a Backup; there may be tens of thousands, so the numbers are packed."""

    uid: str
    group: BackupGroup
    vm: str
    repository: str
    packed: bytes

    @property
    def namespace(self) -> str:
        """Namespace."""
        return self.group.namespace

    @property
    def numbers(self) -> BackupNumbers:
        """The numbers."""
        return BackupNumbers(*_PACKED.unpack(self.packed))

    @classmethod
    def of(cls, obj: Obj) -> Self:
        """From a Backup. Raises KeyError for what can't be one."""
        meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
        phase = status.get("phase") or Phase.PENDING.value
        ready = reason_of(obj, conditions.READY) or NOT_REPORTED
        kind = status.get("type") or spec.get("type") or ""
        numbers = BackupNumbers(
            _number(seconds_of(meta.get("creationTimestamp"))),
            _number(seconds_of(status.get("completionTime"))),
            _number(status.get("durationSeconds")),
            _number((status.get("progress") or {}).get("bytesTransferred")),
            _number(status.get("guestBytes")),
            _number(status.get("storedBytes")),
        )
        return cls(
            meta["uid"],
            _group(meta["namespace"], phase, kind, ready),
            sys.intern(spec["vmRef"]["name"]),
            sys.intern(spec["repositoryRef"]["name"]),
            _PACKED.pack(*numbers),
        )


@lru_cache(maxsize=4096)
def _group(namespace: str, phase: str, kind: str, reason: str) -> BackupGroup:
    """One object for all Backups of a group."""
    return BackupGroup(namespace, phase, kind, reason)


def _number(value: float | None) -> float:
    return float(value) if value is not None else math.nan


def known(value: float) -> float | None:
    """Return a number of a Backup; None when it is not known."""
    return None if math.isnan(value) else value


@dataclass
class VMBackups:
    """What the Backups of one VM came to."""

    last: BackupNumbers | None = None
    """The last completed one."""
    failed: list[float] = field(default_factory=list)
    """When the failed ones ended."""

    @property
    def failures(self) -> int:
        """How many failed since the last completed one."""
        since = self.last.ended if self.last is not None else -math.inf
        return sum(ended > since for ended in self.failed)


@dataclass
class BackupTotals:
    """All that one pass over the Backups finds."""

    groups: Counter[BackupGroup] = field(default_factory=Counter)
    oldest: dict[tuple[str, str], float] = field(default_factory=dict)
    """By namespace and reason: creation of the oldest pending one."""
    vms: dict[ObjectKey, VMBackups] = field(default_factory=dict)
    queued: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By namespace, VM and repository: Backups that wait for their turn."""


def sum_up(records: Iterable[BackupRecord]) -> BackupTotals:
    """Return what the Backups come to."""
    totals = BackupTotals()
    for record in records:
        group = record.group
        totals.groups[group] += 1
        match group.phase:
            case Phase.PENDING:
                _add_pending(totals, record)
            case Phase.COMPLETED:
                vm = totals.vms.setdefault(ObjectKey(group.namespace, record.vm), VMBackups())
                numbers = record.numbers
                if numbers.ended > (vm.last.ended if vm.last is not None else -math.inf):
                    vm.last = numbers
            case Phase.FAILED:
                vm = totals.vms.setdefault(ObjectKey(group.namespace, record.vm), VMBackups())
                vm.failed.append(record.numbers.ended)
    return totals


def _add_pending(totals: BackupTotals, record: BackupRecord) -> None:
    namespace, reason = record.namespace, record.group.reason
    created = record.numbers.created
    totals.oldest[namespace, reason] = min(created, totals.oldest.get((namespace, reason), created))
    if reason in QUEUED:
        totals.queued[namespace, record.vm, record.repository] += 1


def backup_families(totals: BackupTotals) -> Iterator[GaugeMetricFamily]:
    """Yield the series of Backups."""
    frequent = _frequent_reasons(totals.groups)
    counts: Counter[BackupGroup] = Counter()
    for group, count in totals.groups.items():
        counts[group if group.reason in frequent else group._replace(reason="Other")] += count
    yield gauge(catalogue.BACKUPS, counts.items())
    oldest = ((place, created) for place, created in totals.oldest.items() if place[1] in frequent)
    yield gauge(catalogue.BACKUPS_OLDEST_PENDING, oldest)


def _frequent_reasons(groups: Counter[BackupGroup]) -> set[str]:
    reasons: Counter[str] = Counter()
    for group, count in groups.items():
        reasons[group.reason] += count
    return {reason for reason, _ in reasons.most_common(MAX_REASONS)}
