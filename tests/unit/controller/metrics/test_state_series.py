"""What a scrape says of the objects: each way that a VM, a chain, a repository or an appliance can be."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support import sample
from tests.support.metricsamples import samples_of, series_of
from tests.support.objects import Obj
from tests.support.sample import GIB, NAMESPACE, NOON, at, condition, stamp
from tests.support.staterecords import record

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.api.v1alpha1.backup import BackupProgress, BackupStatus, Phase
from sendense_operator.api.v1alpha1.backupchain import BackupChainStatus, ChainVerification, PointState, RestorePoint
from sendense_operator.api.v1alpha1.backuppolicy import BackupPolicyStatus
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositoryStatus, Catalogue, RepositoryCapacity
from sendense_operator.api.v1alpha1.base import Condition, Status
from sendense_operator.api.v1alpha1.chain_consolidation import ChainConsolidation
from sendense_operator.api.v1alpha1.cron_schedules import ScheduleStatus
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMStatus
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceStatus
from sendense_operator.controller.metrics.backup_series import MAX_REASONS
from sendense_operator.controller.metrics.exposition import state_text
from sendense_operator.controller.metrics.state_series import StateStores
from sendense_operator.metric_catalogue import Metric
from sendense_operator.task import BackupType

NOON_S = NOON.timestamp()
DB = (DB_NAME := "db", NAMESPACE)
"""Labels of the VM: name, then namespace."""


def with_status(obj: Obj, status: Status, *found: Obj) -> Obj:
    status.conditions = [Condition.model_validate(one) for one in found]
    return {**obj, "status": status.to_dict()}


def ready(reason: str = "Fine", *, status: str = "True") -> Obj:
    return condition("Ready", reason, status=status)


def text_of(*objects: Obj) -> bytes:
    stores = StateStores()
    for obj in objects:
        record(stores, obj["kind"], obj)
    return state_text(stores.snapshot())


def series(metric: Metric, *objects: Obj) -> dict[tuple[str, ...], float]:
    return series_of(text_of(*objects), metric.name)


def backup(name: str, phase: Phase, reason: str = "Fine", *, ended: float | None = None, **fields: Any) -> Obj:
    vm, age = fields.pop("vm", DB_NAME), fields.pop("age", 0)
    status = BackupStatus(phase=phase, completion_time=at(ended) if ended is not None else None, **fields)
    return with_status(sample.backup(name, vm=vm, age=age), status, ready(reason))


def completed(name: str, ended: float, **fields: Any) -> Obj:
    numbers = {
        "type": BackupType.INCREMENTAL,
        "duration_seconds": 60,
        "stored_bytes": 3 * GIB,
        "guest_bytes": 2 * GIB,
        "progress": BackupProgress(received_bytes=5 * GIB),
    }
    return backup(name, Phase.COMPLETED, "Committed", ended=ended, **{**numbers, **fields})


def vm(protected: tuple[str, str] | None = ("WithinObjective", "True"), **fields: Any) -> Obj:
    found = [condition("Protected", protected[0], status=protected[1])] if protected is not None else []
    return with_status(sample.protected_vm(), ProtectedVMStatus(**fields), *found)


def policy(**spec: Any) -> Obj:
    spec = {"vmRefs": [{"name": "db"}], "repositoryRef": {"name": "store"}, **spec}
    return with_status(sample.custom("BackupPolicy", "daily", spec), BackupPolicyStatus(vms=3, last_time=NOON))


def chain(**fields: Any) -> Obj:
    spec = {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}}
    found = fields.pop("found", [])
    return with_status(sample.custom("BackupChain", "db-store", spec), BackupChainStatus(**fields), *found)


def test_no_series_without_objects() -> None:
    assert samples_of(text_of()) == {}


def test_each_metric_of_the_catalogue_is_described() -> None:
    described = {line.split()[2] for line in text_of().decode().splitlines() if line.startswith("# HELP")}
    assert described == {metric.name for group in catalogue.STATE for metric in group.metrics}


def test_backups_by_phase_type_and_reason() -> None:
    objects = [
        completed("b1", 60),
        completed("b2", 120),
        completed("b3", 130, type=BackupType.FULL),
        backup("b4", Phase.PENDING, "WaitingForSlot"),
        sample.backup("b5"),
    ]
    assert series(catalogue.BACKUPS, *objects) == {
        (NAMESPACE, "Completed", "Committed", "Incremental"): 2,
        (NAMESPACE, "Completed", "Committed", "Full"): 1,
        (NAMESPACE, "Pending", "WaitingForSlot", "Full"): 1,
        (NAMESPACE, "Pending", "NotReported", "Full"): 1,
    }


def test_reasons_are_bounded() -> None:
    many = [backup(f"b{number}", Phase.FAILED, f"Reason{number}", ended=1) for number in range(2 * MAX_REASONS)]
    found = series(catalogue.BACKUPS, *many)
    assert len(found) == MAX_REASONS + 1
    assert found[NAMESPACE, "Failed", "Other", "Full"] == MAX_REASONS


def test_the_oldest_that_waits() -> None:
    waiting = [backup(f"b{age}", Phase.PENDING, "WaitingForSlot", age=age) for age in (30, 10, 20)]
    assert series(catalogue.BACKUPS_OLDEST_PENDING, *waiting, backup("b", Phase.RUNNING, "Copying")) == {
        (NAMESPACE, "WaitingForSlot"): NOON_S + 10
    }


def test_a_fresh_vm() -> None:
    text = text_of(vm(latest_time=at(-60), policy="daily"), policy(objective={"maxAgeSeconds": 86_400}))
    assert series_of(text, catalogue.VM_NEWEST_POINT.name) == {DB: NOON_S - 60}
    assert series_of(text, catalogue.VM_OBJECTIVE.name) == {DB: 86_400}
    assert series_of(text, catalogue.VM_PROTECTION.name) == {(*DB, "WithinObjective"): 1}
    assert series_of(text, catalogue.VM_INFO.name) == {("vma", *DB, "daily"): 1}
    assert series_of(text, catalogue.VM_CREATED.name) == {DB: NOON_S}
    for absent in (catalogue.VM_NEVER, catalogue.VM_SUSPENDED, catalogue.VM_VANISHED):
        assert series_of(text, absent.name) == {}


def test_a_vm_that_was_never_backed_up() -> None:
    text = text_of(vm(("NeverBackedUp", "False")))
    assert series_of(text, catalogue.VM_NEVER.name) == {DB: 1}
    assert series_of(text, catalogue.VM_NEWEST_POINT.name) == {}
    assert series_of(text, catalogue.VM_PROTECTION.name) == {(*DB, "NeverBackedUp"): 0}


def test_a_vm_without_any_status() -> None:
    text = text_of(sample.protected_vm())
    assert series_of(text, catalogue.VM_PROTECTION.name) == {(*DB, "NotReported"): -1}
    assert series_of(text, catalogue.VM_NEVER.name) == {DB: 1}


def test_a_vm_of_a_suspended_policy() -> None:
    assert series(catalogue.VM_SUSPENDED, vm(policy="daily"), policy(suspend=True)) == {DB: 1}
    assert series(catalogue.VM_SUSPENDED, vm(policy="other"), policy(suspend=True)) == {}


def test_a_vanished_vm() -> None:
    assert series(catalogue.VM_VANISHED, vm(("Vanished", "Unknown"), vanished_time=NOON)) == {DB: 1}


def test_a_vm_that_is_being_deleted_has_no_series() -> None:
    assert samples_of(text_of(sample.deleting(vm()))) == {}


def test_the_last_backup_of_a_vm() -> None:
    objects = [vm(), completed("b2", 120, stored_bytes=GIB), completed("b1", 60), completed("b3", 200, vm="other")]
    text = text_of(*objects)
    values = {
        catalogue.VM_LAST_END: NOON_S + 120,
        catalogue.VM_LAST_DURATION: 60,
        catalogue.VM_LAST_RECEIVED: 5 * GIB,
        catalogue.VM_LAST_GUEST: 2 * GIB,
        catalogue.VM_LAST_STORED: GIB,
        catalogue.VM_FAILURES: 0,
    }
    for metric, value in values.items():
        assert series_of(text, metric.name) == {DB: value}, metric.name


def test_what_is_not_known_of_the_last_backup_has_no_series() -> None:
    text = text_of(vm(), backup("b1", Phase.COMPLETED, "Adopted", ended=60))
    assert series_of(text, catalogue.VM_LAST_END.name) == {DB: NOON_S + 60}
    assert series_of(text, catalogue.VM_LAST_DURATION.name) == {}
    assert series_of(text, catalogue.VM_LAST_STORED.name) == {}


@pytest.mark.parametrize(
    ("ends", "failures"),
    [
        ([("F", 10), ("F", 20)], 2),
        ([("F", 10), ("C", 20), ("F", 30), ("F", 40)], 2),
        ([("F", 10), ("F", 20), ("C", 30)], 0),
        ([("C", 10), ("F", 20), ("X", 30)], 1),
    ],
)
def test_failures_in_a_row(ends: list[tuple[str, float]], failures: int) -> None:
    phases = {"F": Phase.FAILED, "C": Phase.COMPLETED, "X": Phase.CANCELLED}
    backups = [backup(f"b{ended}", phases[letter], "Whatever", ended=ended) for letter, ended in ends]
    assert series(catalogue.VM_FAILURES, vm(), *backups) == {DB: failures}


def test_a_chain() -> None:
    points = [
        RestorePoint(backup=f"b{index}", time=at(index), type=BackupType.FULL, state=state)
        for index, state in enumerate((PointState.AVAILABLE, PointState.DAMAGED, PointState.LOST))
    ]
    schedule = ScheduleStatus(name="verification", since=NOON, slot=at(5), open=True)
    obj = chain(
        points=7,
        depth=4,
        stored_bytes=GIB,
        restore_points=points,
        latest_usable_time=at(3),
        verification=ChainVerification(last_time=at(9), schedule=schedule),
        found=[condition("Verified", "VerificationOverdue", status="False")],
    )
    labels = (NAMESPACE, "store", "db")
    values = {
        catalogue.CHAIN_POINTS: 7,
        catalogue.CHAIN_DAMAGED: 1,
        catalogue.CHAIN_DEPTH: 4,
        catalogue.CHAIN_STORED: GIB,
        catalogue.CHAIN_NEWEST_POINT: NOON_S + 3,
        catalogue.CHAIN_VERIFIED: NOON_S + 9,
        catalogue.CHAIN_SLOT: NOON_S + 5,
    }
    for metric, value in values.items():
        assert series(metric, obj) == {labels: value}, metric.name
    assert series(catalogue.CHAIN_VERIFICATION, obj) == {(NAMESPACE, "VerificationOverdue", "store", "db"): 0}


def test_a_chain_that_nobody_verifies() -> None:
    closed = ScheduleStatus(name="verification", since=NOON, slot=at(5), open=False)
    for obj in (chain(points=1), chain(points=1, verification=ChainVerification(schedule=closed))):
        for metric in (catalogue.CHAIN_VERIFIED, catalogue.CHAIN_SLOT, catalogue.CHAIN_VERIFICATION):
            assert series(metric, obj) == {}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (ChainConsolidation(last_time=at(9), last_merges=2, last_freed_bytes=GIB), ""),
        (ChainConsolidation(last_time=at(9), last_merges=2, last_freed_bytes=GIB, left="NoRoom"), "NoRoom"),
        (ChainConsolidation(last_time=at(9), last_merges=2, last_freed_bytes=GIB, left="MoonPhase"), "MergeFailed"),
        (
            ChainConsolidation(last_time=at(9), last_merges=2, last_freed_bytes=GIB, problem="OOMKilled", tries=1),
            "ConsolidationFailed",
        ),
        (ChainConsolidation(last_time=at(9), last_merges=2, last_freed_bytes=GIB, problem="refused"), ""),
    ],
)
def test_the_consolidation_of_a_chain(state: ChainConsolidation, reason: str) -> None:
    obj, labels = chain(points=1, consolidation=state), (NAMESPACE, "store", "db")
    assert series(catalogue.CHAIN_CONSOLIDATED, obj) == {labels: NOON_S + 9}
    assert series(catalogue.CHAIN_MERGES, obj) == {labels: 2}
    assert series(catalogue.CHAIN_FREED, obj) == {labels: GIB}
    assert series(catalogue.CHAIN_OBSTACLE, obj) == ({(NAMESPACE, reason, "store", "db"): 1} if reason else {})


def test_a_chain_that_was_never_merged() -> None:
    for metric in (
        catalogue.CHAIN_CONSOLIDATED,
        catalogue.CHAIN_MERGES,
        catalogue.CHAIN_FREED,
        catalogue.CHAIN_OBSTACLE,
    ):
        assert series(metric, chain(points=1)) == {}


def test_a_policy() -> None:
    text = text_of(policy(suspend=True))
    daily = ("daily", NAMESPACE)
    assert series_of(text, catalogue.POLICY_SUSPENDED.name) == {daily: 1}
    assert series_of(text, catalogue.POLICY_VMS.name) == {daily: 3}
    assert series_of(text, catalogue.POLICY_LAST.name) == {daily: NOON_S}
    assert series_of(text, catalogue.POLICY_NEXT.name) == {}


def test_a_repository_and_its_queue() -> None:
    status = BackupRepositoryStatus(
        capacity=RepositoryCapacity(total_bytes=100, free_bytes=40),
        points=9,
        active_backups=2,
        last_probe_time=at(1),
        catalogue=Catalogue(time=at(2), damaged=3, lost=4),
    )
    store = with_status(sample.repository(minFreeBytes=10, maxConcurrentBackups=5), status, ready())
    waiting = [backup(f"b{index}", Phase.PENDING, "WaitingForSlot") for index in range(3)]
    other = backup("b9", Phase.PENDING, "VMNotFound")
    text = text_of(store, vm(), sample.appliance(), *waiting, other)
    values = {
        catalogue.REPOSITORY_READY: 1,
        catalogue.REPOSITORY_CAPACITY: 100,
        catalogue.REPOSITORY_FREE: 40,
        catalogue.REPOSITORY_MINIMUM: 10,
        catalogue.REPOSITORY_POINTS: 9,
        catalogue.REPOSITORY_DAMAGED: 3,
        catalogue.REPOSITORY_LOST: 4,
        catalogue.REPOSITORY_SLOTS: 5,
        catalogue.REPOSITORY_USED: 2,
        catalogue.REPOSITORY_QUEUED: 3,
        catalogue.REPOSITORY_PROBED: NOON_S + 1,
        catalogue.REPOSITORY_SCANNED: NOON_S + 2,
    }
    for metric, value in values.items():
        assert series_of(text, metric.name) == {("store", NAMESPACE): value}, metric.name
    assert series_of(text, catalogue.APPLIANCE_QUEUED.name) == {("vma", NAMESPACE): 3}


def test_an_appliance() -> None:
    status = VMwareApplianceStatus(stuck_clients=2, active_backups=1, last_contact_time=NOON - timedelta(hours=1))
    obj = with_status(sample.appliance(), status, ready("ApplianceUnreachable", status="False"))
    values = {
        catalogue.APPLIANCE_READY: 0,
        catalogue.APPLIANCE_STUCK: 2,
        catalogue.APPLIANCE_SLOTS: 4,
        catalogue.APPLIANCE_USED: 1,
        catalogue.APPLIANCE_CONTACT: NOON_S - 3600,
    }
    for metric, value in values.items():
        assert series(metric, obj) == {("vma", NAMESPACE): value}, metric.name


def test_specs_of_another_version_stop_nothing() -> None:
    objects = [
        sample.repository(minFreeBytes="a lot"),
        sample.appliance(url=7),
        sample.custom("BackupPolicy", "daily", {"schedules": "never"}),
    ]
    text = text_of(*objects)
    assert series_of(text, catalogue.REPOSITORY_READY.name) == {("store", NAMESPACE): 0}
    assert series_of(text, catalogue.APPLIANCE_SLOTS.name) == {}
    assert series_of(text, catalogue.POLICY_SUSPENDED.name) == {("daily", NAMESPACE): 0}


def test_times_that_are_none_are_left_out() -> None:
    broken = {**sample.protected_vm(), "status": {"latestTime": stamp()[:7]}}
    assert series(catalogue.VM_NEVER, broken) == {DB: 1}


def test_restores_by_phase() -> None:
    made = [
        sample.restore("r1"),
        sample.restore("r2", {"phase": "Pending"}, age=60),
        sample.restore("r3", {"phase": "Completed"}),
        sample.restore("r4", {"phase": "of another version"}, age=30),
    ]
    found = series(catalogue.RESTORES, *made)
    assert found == {(NAMESPACE, "Pending"): 3, (NAMESPACE, "Completed"): 1}
    assert series(catalogue.RESTORES_OLDEST_PENDING, *made) == {(NAMESPACE,): NOON_S}
    assert series(catalogue.RESTORES_OLDEST_PENDING, *made[2:3]) == {}
