"""Every metric that the operator's programs export: name, labels and meaning. The page of the metrics is made of it.

No label holds what a user or an appliance can choose freely, but for the names of objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class MetricType(StrEnum):
    """Types of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    """As it is exported; a counter's ends in `_total`."""
    type: MetricType
    meaning: str
    """One sentence: the metric's HELP, and its line in the documentation."""
    labels: tuple[str, ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """Names that queries can use."""
        if self.type is MetricType.HISTOGRAM:
            return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return (self.name,)


@dataclass(frozen=True, slots=True)
class MetricGroup:
    """Metrics that have a table of their own in the documentation."""

    title: str
    metrics: tuple[Metric, ...]


def _gauge(name: str, labels: str, meaning: str) -> Metric:
    return Metric(f"sendense_{name}", MetricType.GAUGE, meaning, tuple(labels.split()))


def _counter(name: str, labels: str, meaning: str) -> Metric:
    return Metric(f"sendense_{name}_total", MetricType.COUNTER, meaning, tuple(labels.split()))


def _histogram(name: str, labels: str, meaning: str) -> Metric:
    return Metric(f"sendense_{name}", MetricType.HISTOGRAM, meaning, tuple(labels.split()))


_OBJECT: Final = "namespace name"
_CHAIN: Final = "namespace vm repository"

BACKUPS: Final = _gauge(
    "backups",
    "namespace phase type reason",
    "Backups by phase, type (that of the result, before it is known the requested one) and reason of Ready.",
)
BACKUPS_OLDEST_PENDING: Final = _gauge(
    "backups_oldest_pending_timestamp_seconds",
    "namespace reason",
    "Creation of the oldest Backup that waits for this reason.",
)

RESTORES: Final = _gauge("restores", "namespace phase", "Restores by phase.")
RESTORES_OLDEST_PENDING: Final = _gauge(
    "restores_oldest_pending_timestamp_seconds", "namespace", "Creation of the oldest Restore that waits."
)

VM_INFO: Final = _gauge(
    "protectedvm_info",
    "namespace name appliance policy",
    "Always 1: the VM's appliance, and the policy that backs it up; of several the one with the strictest objective.",
)
VM_CREATED: Final = _gauge("protectedvm_created_timestamp_seconds", _OBJECT, "Creation of the ProtectedVM.")
VM_NEWEST_POINT: Final = _gauge(
    "protectedvm_newest_restore_point_timestamp_seconds",
    _OBJECT,
    "When the content of the VM's newest usable restore point was taken; absent without one.",
)
VM_NEVER: Final = _gauge(
    "protectedvm_never_backed_up", _OBJECT, "1 for a VM without a usable restore point; absent for all others."
)
VM_OBJECTIVE: Final = _gauge(
    "protectedvm_objective_seconds",
    _OBJECT,
    "Largest age of the newest restore point that the VM's policy allows; absent without spec.objective.",
)
VM_PROTECTION: Final = _gauge(
    "protectedvm_protection",
    f"{_OBJECT} reason",
    "Whether the VM is within all of its objectives: 1 or 0, -1 if that is not checked; with the reason of Protected.",
)
VM_SUSPENDED: Final = _gauge(
    "protectedvm_suspended", _OBJECT, "1 for a VM whose policy is suspended; absent for all others."
)
VM_VANISHED: Final = _gauge(
    "protectedvm_vanished", _OBJECT, "1 for a VM that vCenter no longer has; absent for all others."
)
VM_FAILURES: Final = _gauge(
    "protectedvm_failed_backups",
    _OBJECT,
    "Backups of the VM that failed since the last completed one. A policy keeps spec.failedHistoryLimit of them.",
)
VM_LAST_END: Final = _gauge(
    "protectedvm_last_backup_timestamp_seconds", _OBJECT, "End of the VM's last completed Backup."
)
VM_LAST_DURATION: Final = _gauge(
    "protectedvm_last_backup_duration_seconds", _OBJECT, "Duration of that Backup, from the start of its first worker."
)
VM_LAST_RECEIVED: Final = _gauge(
    "protectedvm_last_backup_received_bytes", _OBJECT, "Bytes that came from the appliance for that Backup."
)
VM_LAST_GUEST: Final = _gauge(
    "protectedvm_last_backup_guest_bytes",
    _OBJECT,
    "Bytes of guest data in its layers, without zeroes; of an increment these are the changed bytes.",
)
VM_LAST_STORED: Final = _gauge(
    "protectedvm_last_backup_stored_bytes", _OBJECT, "Bytes that its layers occupy in the repository."
)

CHAIN_POINTS: Final = _gauge("backupchain_points", _CHAIN, "Restore points of the chain.")
CHAIN_DAMAGED: Final = _gauge(
    "backupchain_damaged_points", _CHAIN, "Restore points that do not read back as they were written."
)
CHAIN_DEPTH: Final = _gauge("backupchain_depth", _CHAIN, "Layers that have to be read for the newest restore point.")
CHAIN_STORED: Final = _gauge("backupchain_stored_bytes", _CHAIN, "Bytes that all layers of the chain occupy.")
CHAIN_NEWEST_POINT: Final = _gauge(
    "backupchain_newest_restore_point_timestamp_seconds",
    _CHAIN,
    "When the content of the chain's newest usable restore point was taken; absent without one.",
)
CHAIN_VERIFIED: Final = _gauge(
    "backupchain_verified_timestamp_seconds", _CHAIN, "End of the chain's last verification; absent before the first."
)
CHAIN_SLOT: Final = _gauge(
    "backupchain_verification_slot_timestamp_seconds",
    _CHAIN,
    "Slot of the policy's verification in which restore points are still to be verified; absent when none are.",
)
CHAIN_VERIFICATION: Final = _gauge(
    "backupchain_verification",
    f"{_CHAIN} reason",
    "Whether the restore points are verified: 1 or 0, -1 if that is not known; with the reason of Verified.",
)
CHAIN_CONSOLIDATED: Final = _gauge(
    "backupchain_consolidated_timestamp_seconds",
    _CHAIN,
    "End of the chain's last consolidation; absent before the first.",
)
CHAIN_MERGES: Final = _gauge(
    "backupchain_consolidation_merges",
    _CHAIN,
    "Layers that the last consolidation wrote, each in the place of several; absent before the first.",
)
CHAIN_FREED: Final = _gauge(
    "backupchain_consolidation_freed_bytes", _CHAIN, "Bytes that the last consolidation freed; absent before the first."
)
CHAIN_OBSTACLE: Final = _gauge(
    "backupchain_consolidation_obstacle",
    f"{_CHAIN} reason",
    "Always 1: why layers are left alone that should be merged, or ConsolidationFailed; absent if there is nothing.",
)

POLICY_SUSPENDED: Final = _gauge("backuppolicy_suspended", _OBJECT, "Whether the policy is suspended: 1 or 0.")
POLICY_VMS: Final = _gauge("backuppolicy_vms", _OBJECT, "VMs that the policy backs up.")
POLICY_LAST: Final = _gauge(
    "backuppolicy_last_run_timestamp_seconds", _OBJECT, "When the policy last created Backups; absent before."
)
POLICY_NEXT: Final = _gauge(
    "backuppolicy_next_run_timestamp_seconds", _OBJECT, "The next slot of all schedules; absent without one."
)

REPOSITORY_READY: Final = _gauge("backuprepository_ready", _OBJECT, "Whether the repository is Ready: 1 or 0.")
REPOSITORY_CAPACITY: Final = _gauge(
    "backuprepository_capacity_bytes", _OBJECT, "Size of the repository's file system; absent before the first probe."
)
REPOSITORY_FREE: Final = _gauge(
    "backuprepository_free_bytes", _OBJECT, "Bytes that can still be written, as of the last probe or backup."
)
REPOSITORY_MINIMUM: Final = _gauge(
    "backuprepository_min_free_bytes", _OBJECT, "Bytes to keep free: with less, no backup is started."
)
REPOSITORY_POINTS: Final = _gauge("backuprepository_points", _OBJECT, "Restore points in all chains.")
REPOSITORY_DAMAGED: Final = _gauge(
    "backuprepository_damaged_points", _OBJECT, "Damaged restore points, as of the last scan."
)
REPOSITORY_LOST: Final = _gauge(
    "backuprepository_lost_points", _OBJECT, "Completed Backups whose restore point the last scan did not find."
)
REPOSITORY_SLOTS: Final = _gauge(
    "backuprepository_slots",
    _OBJECT,
    "Backups that may write at the same time; a ReadWriteOncePod claim allows one, whatever this says.",
)
REPOSITORY_USED: Final = _gauge("backuprepository_slots_used", _OBJECT, "Workers that write now.")
REPOSITORY_QUEUED: Final = _gauge(
    "backuprepository_queued_backups", _OBJECT, "Backups that have all they need but for their turn."
)
REPOSITORY_PROBED: Final = _gauge(
    "backuprepository_probed_timestamp_seconds", _OBJECT, "When the repository was last checked; absent before."
)
REPOSITORY_SCANNED: Final = _gauge(
    "backuprepository_scanned_timestamp_seconds", _OBJECT, "Start of the last complete scan; absent before the first."
)

APPLIANCE_READY: Final = _gauge(
    "vmwareappliance_ready", _OBJECT, "Whether the appliance answers and can be used: 1 or 0."
)
APPLIANCE_CONTACT: Final = _gauge(
    "vmwareappliance_contact_timestamp_seconds", _OBJECT, "When the appliance last answered; absent before."
)
APPLIANCE_STUCK: Final = _gauge(
    "vmwareappliance_stuck_clients", _OBJECT, "Clients of the appliance that hang until its service is restarted."
)
APPLIANCE_SLOTS: Final = _gauge(
    "vmwareappliance_slots", _OBJECT, "Backups that may run on the appliance at the same time."
)
APPLIANCE_USED: Final = _gauge("vmwareappliance_slots_used", _OBJECT, "Workers that use the appliance now.")
APPLIANCE_QUEUED: Final = _gauge(
    "vmwareappliance_queued_backups", _OBJECT, "Backups that have all they need but for their turn."
)

LEADING: Final = _gauge("leading", "", "1 on the controller that holds the Lease, 0 on the others.")
HEARTBEAT: Final = _gauge(
    "heartbeat_timestamp_seconds", "", "When the work queue last handed out the heartbeat, which is due every 10 s."
)
WATCH_AGE: Final = _gauge(
    "watch_age_seconds",
    "",
    "Seconds since the API server was last heard of, by the watch for which that is longest; +Inf before all objects "
    "were listed.",
)
RECONCILES: Final = _counter("reconciles", "kind", "Reconciles that succeeded, by kind of work.")
RECONCILE_ERRORS: Final = _counter(
    "reconcile_errors", "kind", "Reconciles that failed and are repeated, by kind of work."
)
RECONCILE_SECONDS: Final = _histogram("reconcile_seconds", "kind", "Time per reconcile, by kind of work.")
QUEUE_LENGTH: Final = _gauge("work_queue_length", "pool", "Keys that wait for a worker of the pool.")
QUEUE_RUNNING: Final = _gauge("work_queue_running", "pool", "Workers of the pool that are busy.")
QUEUE_WORKERS: Final = _gauge("work_queue_workers", "pool", "Workers of the pool.")
QUEUE_WAIT: Final = _histogram("work_queue_wait_seconds", "pool", "Time that a key waited for a worker.")
VMA_CALLS: Final = _counter(
    "vma_calls", "operation outcome", "Calls of the controller to appliances; workers' calls are not among them."
)
VMA_SECONDS: Final = _histogram("vma_call_seconds", "operation", "Time until the answer, repetitions included.")

REST_REQUESTS: Final = _counter("rest_requests", "operation code", "Requests by operation and HTTP status.")
REST_SECONDS: Final = _histogram("rest_request_seconds", "operation", "Time until the answer.")
REST_OBJECTS: Final = _gauge("rest_objects", "kind", "Objects in the listener's mirror of the cluster.")
REST_AGE: Final = _gauge(
    "rest_cache_age_seconds", "", "Seconds since the mirror was known to be current; +Inf before the first list."
)

STATE: Final = (
    MetricGroup("Backups", (BACKUPS, BACKUPS_OLDEST_PENDING)),
    MetricGroup("Restores", (RESTORES, RESTORES_OLDEST_PENDING)),
    MetricGroup("ProtectedVMs", (
        VM_INFO, VM_CREATED, VM_NEWEST_POINT, VM_NEVER, VM_OBJECTIVE, VM_PROTECTION, VM_SUSPENDED, VM_VANISHED,
        VM_FAILURES, VM_LAST_END, VM_LAST_DURATION, VM_LAST_RECEIVED, VM_LAST_GUEST, VM_LAST_STORED,
    )),
    MetricGroup("BackupChains", (
        CHAIN_POINTS, CHAIN_DAMAGED, CHAIN_DEPTH, CHAIN_STORED, CHAIN_NEWEST_POINT, CHAIN_VERIFIED, CHAIN_SLOT,
        CHAIN_VERIFICATION, CHAIN_CONSOLIDATED, CHAIN_MERGES, CHAIN_FREED, CHAIN_OBSTACLE,
    )),
    MetricGroup("BackupPolicies", (POLICY_SUSPENDED, POLICY_VMS, POLICY_LAST, POLICY_NEXT)),
    MetricGroup("BackupRepositories", (
        REPOSITORY_READY, REPOSITORY_CAPACITY, REPOSITORY_FREE, REPOSITORY_MINIMUM, REPOSITORY_POINTS,
        REPOSITORY_DAMAGED, REPOSITORY_LOST, REPOSITORY_SLOTS, REPOSITORY_USED, REPOSITORY_QUEUED, REPOSITORY_PROBED,
        REPOSITORY_SCANNED,
    )),
    MetricGroup("VMwareAppliances", (
        APPLIANCE_READY, APPLIANCE_CONTACT, APPLIANCE_STUCK, APPLIANCE_SLOTS, APPLIANCE_USED, APPLIANCE_QUEUED,
    )),
)  # fmt: skip
"""Computed from the objects at each scrape, by the leading controller only."""

CONTROLLER: Final = MetricGroup("Controller", (
    LEADING, HEARTBEAT, WATCH_AGE, RECONCILES, RECONCILE_ERRORS, RECONCILE_SECONDS, QUEUE_LENGTH, QUEUE_RUNNING,
    QUEUE_WORKERS, QUEUE_WAIT, VMA_CALLS, VMA_SECONDS,
))  # fmt: skip
REST: Final = MetricGroup("REST", (REST_REQUESTS, REST_SECONDS, REST_OBJECTS, REST_AGE))
PROCESS: Final = (CONTROLLER, REST)
"""Of one process: its counters begin anew when it starts."""


def all_metrics() -> Iterator[Metric]:
    """Yield each metric of the operator."""
    for group in (*STATE, *PROCESS):
        yield from group.metrics
