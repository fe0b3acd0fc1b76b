"""A Backup's status: phase and message follow from what is said, and what can't be said is said otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import NOON, at
from tests.wiring.rig import Rig

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import BackupDisk, BackupStatus, Phase
from sendense_operator.api.v1alpha1.conditions import State
from sendense_operator.reconcile.backups.backup_status import (
    ObservedBackup,
    events_of_change,
    next_backup_status,
    publish,
    wanted_labels,
)
from sendense_operator.task import Stage


def observed_backup(status: Obj | None = None, **spec: object) -> ObservedBackup:
    return ObservedBackup.of(sample.backup("b1", status, **spec))  # type: ignore[arg-type]


def after(*states: State, stage: Stage | None = None) -> BackupStatus:
    found = observed_backup()
    for number, state in enumerate(states):
        found.status = next_backup_status(found, state, {"stage": stage} if stage else {}, at(number))
    return found.status


WAITS = conditions.reconciling("VMNotFound", "there is no ProtectedVM db")
COPIES = conditions.reconciling("Copying", "")
DONE = conditions.ready("Committed", "1 disk")
FAILED = conditions.stalled("WritesLost", "bytes are missing")
CANCELLED = conditions.stalled("Cancelled", "as asked")


@pytest.mark.parametrize(
    ("state", "phase", "over"),
    [
        (WAITS, Phase.PENDING, False),
        (COPIES, Phase.RUNNING, False),
        (DONE, Phase.COMPLETED, True),
        (FAILED, Phase.FAILED, True),
        (CANCELLED, Phase.CANCELLED, True),
        (conditions.reconciling("Deleting", ""), Phase.DELETING, False),
    ],
)
def test_the_phase_follows(state: State, phase: Phase, over: bool) -> None:
    found = observed_backup()
    found.status = next_backup_status(found, state, {"stage": Stage.COPYING}, at(5))
    assert (found.status.phase, found.is_over) == (phase, over)
    assert (found.status.stage is None) is over
    assert found.status.completion_time == (at(5) if over else None)
    assert found.status.observed_generation == 1


def test_what_is_not_changed_stays() -> None:
    found = observed_backup({"jobID": "backup-x", "attempts": 2, "startTime": sample.stamp()})
    status = next_backup_status(found, COPIES, {"node_name": "n1"}, NOON)
    assert (status.job_id, status.attempts, status.start_time, status.node_name) == ("backup-x", 2, NOON, "n1")


def test_the_same_again_is_equal() -> None:
    found = observed_backup()
    found.status = next_backup_status(found, WAITS, {}, at(1))
    assert next_backup_status(found, WAITS, {}, at(99)) == found.status


@pytest.mark.parametrize("reason", ["", "1st", "has space", "ümlaut", "x" * 300, "Trailing-", "a\n"])
def test_a_reason_that_the_schema_refuses_becomes_part_of_the_message(reason: str) -> None:
    status = next_backup_status(observed_backup(), conditions.stalled(reason, "what happened"), {}, NOON)
    BackupStatus.model_validate(status.to_dict())
    assert status.conditions[0].reason == "WorkerFailed"
    assert status.conditions[0].message == f"{reason}: what happened"


@given(st.text(max_size=20), st.text(max_size=6000))
def test_whatever_a_worker_says_fits_the_schema(reason: str, message: str) -> None:
    status = next_backup_status(observed_backup(), conditions.stalled(reason, message), {}, NOON)
    again = BackupStatus.model_validate(status.to_dict())
    assert again.phase in (Phase.FAILED, Phase.CANCELLED)
    assert again.message is not None
    assert len(again.message) <= 256
    assert "\n" not in again.message


@pytest.mark.parametrize(
    ("old", "new", "reported"),
    [
        ((), (WAITS,), [("Normal", "VMNotFound")]),
        ((WAITS,), (WAITS, conditions.reconciling("VMNotFound", "other words")), []),
        ((WAITS,), (WAITS, conditions.reconciling("ChainBusy", "")), [("Normal", "ChainBusy")]),
        ((), (conditions.reconciling("VCenterUnreachable", ""),), [("Warning", "VCenterUnreachable")]),
        ((), (conditions.reconciling("Unschedulable", ""),), [("Warning", "Unschedulable")]),
        ((), (conditions.reconciling("WaitingForSlot", ""),), [("Normal", "WaitingForSlot")]),
        ((WAITS,), (WAITS, COPIES), [("Normal", "Started")]),
        ((COPIES,), (COPIES, conditions.reconciling("Verifying", "")), []),
        ((COPIES,), (COPIES, conditions.reconciling("Cancelling", "")), [("Normal", "Cancelling")]),
        ((COPIES,), (COPIES, DONE), [("Normal", "Committed")]),
        ((COPIES,), (COPIES, FAILED), [("Warning", "Failed")]),
        ((COPIES,), (COPIES, CANCELLED), [("Normal", "Cancelled")]),
        ((DONE,), (DONE,), []),
    ],
)
def test_events(old: tuple[State, ...], new: tuple[State, ...], reported: list[tuple[str, str]]) -> None:
    assert [event[:2] for event in events_of_change(after(*old), after(*new))] == reported


def queued(position: int) -> State:
    return conditions.reconciling("WaitingForSlot", f"position {position} in the queue")


@pytest.mark.parametrize(
    ("states", "changes", "written"),
    [
        ([(0, queued(3)), (5, queued(2)), (29, queued(1)), (31, queued(1))], {}, [0, 31]),
        ([(0, queued(3)), (1, conditions.reconciling("ChainBusy", "")), (2, queued(3))], {}, [0, 1, 2]),
        ([(0, queued(3)), (1, COPIES)], {}, [0, 1]),
        ([(0, queued(3)), (1, FAILED)], {}, [0, 1]),
        ([(0, COPIES), (1, conditions.reconciling("Verifying", "")), (6, DONE)], {}, [0, 6]),
        ([(0, COPIES), (1, conditions.reconciling("CallbacksElsewhere", ""))], {}, [0, 1]),
        ([(0, queued(3)), (1, queued(3)), (40, queued(3))], {}, [0]),
        ([(0, queued(3)), (1, queued(2))], {"vm_name": "db"}, [0, 1]),
    ],
)
async def test_when_it_is_written(
    states: list[tuple[float, State]], changes: dict[str, Any], written: list[float]
) -> None:
    """`changes`: what the last of the states says besides."""
    rig = Rig()
    rig.create_backup()
    found, clock = ObservedBackup.of(rig.backup()), rig.world.clock
    for number, (clock.seconds, state) in enumerate(states):
        rest = await publish(rig.controller.ctx, found, state, **(changes if number == len(states) - 1 else {}))
        assert (rest > 0) is (next_backup_status(found, state, {}, NOON) != found.status)
    assert [entry["at"] for entry in rig.world.cluster.history] == written


def test_the_event_of_a_failure_names_the_reason() -> None:
    assert events_of_change(after(COPIES), after(COPIES, FAILED))[0][2] == "WritesLost: bytes are missing"


LOST = conditions.stalled("Lost", "its restore point is not there")


def test_a_point_that_is_lost_and_found_was_made_when_it_was_made() -> None:
    lost, found = after(COPIES, DONE, LOST), after(COPIES, DONE, LOST, DONE)
    assert (lost.phase, lost.completion_time) == (Phase.LOST, at(1))
    assert (found.phase, found.completion_time) == (Phase.COMPLETED, at(1))
    assert events_of_change(after(COPIES, DONE), lost)[0][:2] == ("Warning", "Lost")


@pytest.mark.parametrize(
    ("reasons", "kind"),
    [((None, None), None), ((None, "NewDisk"), "Normal"), (("DiskResized", "NewDisk"), "Warning")],
)
def test_disks_that_fell_back_are_reported(reasons: tuple[str | None, ...], kind: str | None) -> None:
    disks = [BackupDisk(index=i, key=2000 + i, virtual_size=1, reason=reason) for i, reason in enumerate(reasons)]
    done = after(COPIES, DONE).model_copy(update={"disks": disks})
    reported = [event for event in events_of_change(after(COPIES), done) if event[1] == "FellBackToFull"]
    assert [event[0] for event in reported] == ([kind] if kind else [])
    assert all(f"disk {i} was copied in full: {r}" in reported[0][2] for i, r in enumerate(reasons) if r)
    assert not [e for e in events_of_change(after(COPIES, DONE, LOST), done) if e[1] == "FellBackToFull"], "found again"


def test_one_that_was_found_tells_so_once() -> None:
    adopting = conditions.reconciling("Adopting", "waiting for a scan")
    found = after(DONE).model_copy(update={"adopted": True})
    for old in (after(), after(adopting)):
        assert [event[:2] for event in events_of_change(old, found)] == [("Normal", "Adopted")]
    assert [event[:2] for event in events_of_change(after(DONE, LOST), found)] == [("Normal", "Committed")], (
        "not found, but back"
    )


ADOPTED = {"uid": sample.uid_of("an older one")}


def test_of_an_adopted_one() -> None:
    assert wanted_labels(observed_backup(adopt=ADOPTED))[names.LABEL_ADOPTED] == "true"
    assert observed_backup(adopt=ADOPTED).point_uid == ADOPTED["uid"]
    assert observed_backup().point_uid == observed_backup().uid


def test_labels() -> None:
    assert wanted_labels(observed_backup()) == {
        names.LABEL_VM: "db",
        names.LABEL_REPOSITORY: "store",
        names.LABEL_TYPE: "Full",
        names.LABEL_PHASE: "Pending",
    }
    assert wanted_labels(observed_backup({"phase": "Completed"}))[names.LABEL_PHASE] == "Completed"


def test_pods_are_selected_by_uid() -> None:
    assert (
        observed_backup().pods_selector
        == f"{names.LABEL_COMPONENT}=worker,{names.LABEL_BACKUP_UID}={observed_backup().uid}"
    )
