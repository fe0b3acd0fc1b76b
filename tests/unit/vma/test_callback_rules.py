import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.task import FullReason
from sendense_operator.vma.callback_bodies import MAX_BODY
from sendense_operator.vma.callback_rules import CallbackTraits, DiskPlan, JobCallbacks

JOB = "backup-0b6f6b0e-6c2b-4b1c-9a53-0f7d2a1c9e11"
OPEN = math.inf
"""The disk's export has a connection, whenever the call comes."""
IDS = [f"52 de c0 d9 b9 43 9d 1{n}-61 d5 4c 1b e9 7b 65 63/{n + 5}" for n in range(3)]


def job(*parents: str | None, **traits: bool) -> JobCallbacks:
    plans = [DiskPlan(n, parent) for n, parent in enumerate(parents)]
    return JobCallbacks(JOB, "pgtest1", plans, CallbackTraits(**traits))


def body(disk: int, change_id: str = IDS[0], **more: Any) -> bytes:
    return json.dumps({"change_id": change_id, "disk_id": disk, "bytes_transferred": 0, **more}).encode()


def request_change_id(callbacks: JobCallbacks, disk: int = 0, now: float = 1.0, call_id: str = "") -> str:
    reply = callbacks.answer_change_id("pgtest1", str(disk), now, call_id)
    assert reply.status == 200
    assert all(isinstance(value, str) for value in reply.body.values())
    assert set(reply.body) == {"vm_name", "disk_id", "change_id", "backup_job_id", "message"}
    assert reply.body["disk_id"] == str(disk)
    assert JOB not in reply.body.values(), "whoever reaches the port would learn it"
    return reply.body["change_id"]


def test_full_of_three_disks() -> None:
    callbacks = job(None, None, None)
    for index in range(3):
        assert callbacks.current_disk == index
        assert request_change_id(callbacks) == ""
        assert callbacks.complete(JOB, body(index, IDS[index]), 2.0 + index, OPEN).status == 200
    assert callbacks.done
    assert callbacks.current_disk is None
    assert callbacks.change_ids == dict(enumerate(IDS))
    assert [callbacks.copied_all(index) for index in range(3)] == [None] * 3


def test_full_answers_nothing_to_every_ask() -> None:
    callbacks = job(None, None)
    assert [request_change_id(callbacks, disk) for disk in (0, 0, 1, 1, 0)] == [""] * 5


def test_incremental_answers_for_the_disk_whose_turn_it_is() -> None:
    callbacks = job(*IDS)
    for index in range(3):
        assert request_change_id(callbacks, 0) == IDS[index]
        assert request_change_id(callbacks, 0) == IDS[index]
        assert not callbacks.copies_changes
        assert request_change_id(callbacks, index) == IDS[index]
        assert callbacks.copies_changes
        assert callbacks.complete(JOB, body(index, f"{IDS[index]}9"), 1.0, OPEN).status == 200
        assert callbacks.requests(index) == 3
        assert callbacks.copied_all(index) is None


def test_one_disk_must_become_full() -> None:
    callbacks = job(IDS[0], None)
    for disk in (0, 0, 0):
        assert request_change_id(callbacks, disk) == IDS[0]
    callbacks.complete(JOB, body(0, IDS[0] + "9"), 1.0, OPEN)
    assert request_change_id(callbacks, 0) == ""
    callbacks.complete(JOB, body(1, "b/1"), 1.0, OPEN)
    assert callbacks.copied_all(0) is None
    assert callbacks.copied_all(1) is None  # it was planned as a full


@pytest.mark.parametrize(
    ("requests", "same", "other"),
    [
        (0, FullReason.APPLIANCE_COPIED_ALL, FullReason.CBT_RESET),
        (1, FullReason.APPLIANCE_COPIED_ALL, FullReason.CBT_RESET),
        (2, FullReason.APPLIANCE_COPIED_ALL, FullReason.CBT_RESET),
        (3, None, FullReason.CBT_RESET),
        (4, None, FullReason.CBT_RESET),
    ],
)
@pytest.mark.parametrize("repeats", [False, True])
def test_an_increment_is_proven_by_requests_and_by_its_change_id(
    requests: int, same: FullReason | None, other: FullReason | None, repeats: bool
) -> None:
    """A repeated or foreign request counts like the client's own, so three of them alone prove nothing."""
    for change_id, reason in ((IDS[0] + "9", same), (IDS[1], other), ("odd", other), ("", other)):
        callbacks = job(IDS[0], repeats=repeats)
        for _ in range(requests):
            request_change_id(callbacks)
        assert callbacks.copies_changes is (requests >= 3)
        assert callbacks.complete(JOB, body(0, change_id), 1.0, OPEN).status == 200
        assert callbacks.copied_all(0) is reason, change_id


def test_only_a_disk_with_a_connection_in_its_turn_completes() -> None:
    callbacks = job(None, None)
    assert callbacks.complete(JOB, body(0), 5.0, None).status == 409
    assert callbacks.complete(JOB, body(0), 6.0, 5.5).status == 200
    # A connection before the previous completion call, such as a stray probe of the export.
    for connected in (None, 5.5, 6.0):
        assert callbacks.complete(JOB, body(1), 7.0, connected).status == 409
    assert (callbacks.current_disk, callbacks.refused) == (1, 4)
    assert callbacks.complete(JOB, body(0), 7.0, None).status == 200, "repeated, it was complete already"
    assert callbacks.complete(JOB, body(1), 8.0, 7.5).status == 200


def test_a_request_sent_again_by_the_gateway_counts_once() -> None:
    callbacks = job(IDS[0])
    for call_id in ("a", "a", "b", "b", "b"):
        assert request_change_id(callbacks, call_id=call_id) == IDS[0]
    assert callbacks.requests(0) == 2


def test_an_ask_for_another_disk_is_answered_and_not_counted() -> None:
    callbacks = job(*IDS)
    assert request_change_id(callbacks, 2) == IDS[2]
    assert callbacks.requests(0) == callbacks.requests(2) == 0
    assert callbacks.last_request is None


@pytest.mark.parametrize(
    ("vm_name", "disk_id", "status"),
    [
        ("other", "0", 404),
        ("pgtest1", "3", 404),
        ("pgtest1", "", 400),
        ("pgtest1", "-1", 400),
        ("pgtest1", "x", 400),
        ("pgtest1", "٣", 400),
        ("pgtest1", "1" * 500, 400),
    ],
)
def test_refused_asks(vm_name: str, disk_id: str, status: int) -> None:
    callbacks = job(*IDS)
    assert callbacks.answer_change_id(vm_name, disk_id, 1.0).status == status
    assert (callbacks.requests(0), callbacks.refused) == (0, 1)


def test_complete_is_idempotent() -> None:
    callbacks = job(None, None)
    for now in (1.0, 2.0):
        assert callbacks.complete(JOB, body(0), now, OPEN).status == 200
    assert callbacks.current_disk == 1
    assert callbacks.last_complete == 1.0
    callbacks.complete(JOB, body(1, IDS[1]), 3.0, OPEN)
    assert callbacks.complete(JOB, body(0), 4.0, OPEN).status == 200
    assert callbacks.change_ids == {0: IDS[0], 1: IDS[1]}


@pytest.mark.parametrize(
    ("job_id", "data", "status"),
    [
        ("backup-other", body(0), 404),
        (JOB, body(1), 409),
        (JOB, body(7), 409),
        (JOB, b"", 400),
        (JOB, b"null", 400),
        (JOB, b"[]", 400),
        (JOB, b"\xff", 400),
        (JOB, b"[" * 60000, 400),
        (JOB, b"x" * (MAX_BODY + 1), 413),
        (JOB, b'{"disk_id": 0}', 400),
        (JOB, b'{"change_id": "a/1"}', 400),
        (JOB, b'{"change_id": "a/1", "disk_id": "0"}', 400),
        (JOB, b'{"change_id": "a/1", "disk_id": true}', 400),
        (JOB, b'{"change_id": "a/1", "disk_id": 0.5}', 400),
        (JOB, b'{"change_id": "a/1", "disk_id": -1}', 400),
        (JOB, b'{"change_id": "a/1", "disk_id": 0, "bytes_transferred": -1}', 400),
        (JOB, b'{"change_id": 5, "disk_id": 0}', 400),
        (JOB, body(0, "a\n/1"), 400),
        (JOB, body(0, "ü/1"), 400),
        (JOB, body(0, "a" * 200 + "/1"), 400),
    ],
)
def test_refused_completes_change_nothing(job_id: str, data: bytes, status: int) -> None:
    callbacks = job(None, None)
    reply = callbacks.complete(job_id, data, 1.0, OPEN)
    assert reply.status == status
    assert reply.body["error"]
    assert (callbacks.current_disk, dict(callbacks.change_ids), callbacks.refused) == (0, {}, 1)
    assert callbacks.complete(JOB, body(0), 2.0, OPEN).status == 200


@pytest.mark.parametrize("change_id", ["", "*", "a/", "/1", "a/b/c"])
def test_a_change_id_of_another_form_costs_no_backup(change_id: str) -> None:
    callbacks = job(None)
    assert callbacks.complete(JOB, body(0, change_id), 1.0, OPEN).status == 200
    assert callbacks.change_ids == {0: change_id}


def test_another_change_id_for_a_completed_disk() -> None:
    callbacks = job(None)
    callbacks.complete(JOB, body(0), 1.0, OPEN)
    assert callbacks.complete(JOB, body(0, IDS[1]), 1.0, OPEN).status == 409
    assert callbacks.change_ids == {0: IDS[0]}


def test_new_fields_are_tolerated() -> None:
    assert job(None).complete(JOB, body(0, disk_progresses=[], more={"a": 1}), 1.0, OPEN).status == 200


def test_cancelled_answers_gone() -> None:
    callbacks = job(*IDS)
    request_change_id(callbacks, call_id="a")
    callbacks.cancel()
    assert callbacks.cancelled
    assert callbacks.complete(JOB, body(0), 1.0, OPEN).status == 410
    assert callbacks.answer_change_id("pgtest1", "0", 1.0, "a").status == 410
    assert callbacks.telemetry(JOB, b"{}", 1.0).status == 200
    assert dict(callbacks.change_ids) == {}


@pytest.mark.parametrize(
    ("job_id", "data", "status"),
    [
        (JOB, b'{"status": "running", "eta_seconds": -3, "disks": []}', 200),
        ("backup-x", b"{}", 404),
        (JOB, b"[]", 400),
        (JOB, b"{", 400),
        (JOB, b"x" * (MAX_BODY + 1), 413),
    ],
)
def test_telemetry(job_id: str, data: bytes, status: int) -> None:
    callbacks = job(None)
    assert callbacks.telemetry(job_id, data, 4.0).status == status
    assert callbacks.last_telemetry == (4.0 if status == 200 else None)


def test_times() -> None:
    callbacks = job(None, None)
    request_change_id(callbacks, now=5.0)
    request_change_id(callbacks, now=6.0)
    assert (callbacks.first_request, callbacks.last_request, callbacks.last_complete) == (5.0, 6.0, None)
    callbacks.complete(JOB, body(0), 7.0, OPEN)
    assert (callbacks.first_request, callbacks.last_request, callbacks.last_complete) == (5.0, None, 7.0)


@pytest.mark.parametrize("plans", [[], [DiskPlan(0), DiskPlan(0)]])
def test_wrong_plan(plans: list[DiskPlan]) -> None:
    with pytest.raises(ValueError, match="callbacks"):
        JobCallbacks(JOB, "x", plans)


@given(st.lists(st.tuples(st.sampled_from(["changeid", "complete"]), st.integers(0, 4)), max_size=60))
def test_disks_complete_in_order_whatever_comes(calls: list[tuple[str, int]]) -> None:
    callbacks = job(IDS[0], None, IDS[2])
    for now, (call, disk) in enumerate(calls):
        before = callbacks.current_disk
        if call == "changeid":
            callbacks.answer_change_id("pgtest1", str(disk), now)
            assert callbacks.current_disk == before
        else:
            status = callbacks.complete(JOB, body(disk, f"c/{disk}"), now, OPEN).status
            assert (status == 200) == (disk in callbacks.change_ids)
            assert list(callbacks.change_ids) == list(range(len(callbacks.change_ids)))
    assert callbacks.done == (len(callbacks.change_ids) == 3)


def test_where_each_request_names_its_disk() -> None:
    callbacks = job(IDS[0], IDS[1], None, names_disks=True)
    for index, parent in enumerate((IDS[0], IDS[1], "")):
        assert [request_change_id(callbacks, index) for _ in range(3)] == [parent] * 3
        assert callbacks.complete(JOB, body(index, f"{parent}1"), 1.0, OPEN).status == 200
        assert callbacks.requests(index) == 3
    assert [callbacks.copied_all(index) for index in range(3)] == [None] * 3


def test_where_each_request_names_its_disk_0_is_no_other() -> None:
    callbacks = job(*IDS, names_disks=True)
    callbacks.complete(JOB, body(0), 1.0, OPEN)
    assert request_change_id(callbacks, 0) == IDS[0]
    assert callbacks.requests(1) == 0


def test_where_callbacks_are_repeated_too_few_requests_are_still_a_full() -> None:
    callbacks = job(IDS[0], repeats=True)
    request_change_id(callbacks)
    callbacks.complete(JOB, body(0, IDS[0] + "9"), 1.0, OPEN)
    assert callbacks.copied_all(0) is FullReason.APPLIANCE_COPIED_ALL
