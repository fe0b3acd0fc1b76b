"""A repository's status from what its probe found."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import GIB, NOON, at, condition, ended, job, pod

from sendense_operator.answer import Answer, Capacity, ImmutableBit
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec, BackupRepositoryStatus, Enforcer
from sendense_operator.reconcile.repositories.repository_status import (
    Probed,
    decide_probe,
    is_in_order,
    next_repository_status,
)
from sendense_operator.reconcile.state.problem import Meaning, Problem

SPEC = BackupRepositorySpec.model_validate(sample.repository(minFreeBytes=GIB)["spec"])
ROOM, TIGHT = Capacity(total=100 * GIB, free=50 * GIB), Capacity(total=100 * GIB, free=GIB - 1)
GOOD = Answer(outcome="Completed", repository_id="repo-1", capacity=ROOM)


def said(answer: Answer) -> list[Obj]:
    return [pod("p1", "Succeeded", containerStatuses=ended(answer.to_message()))]


TOLD_TO_END = Answer(outcome="Cancelled", reason="Terminated", message="the worker was requested to end")


@pytest.mark.parametrize(
    ("pods", "remembered", "reason", "unfinished"),
    [
        (said(GOOD), None, None, False),
        ([], GOOD, None, False),
        (said(GOOD.model_copy(update={"capacity": TIGHT})), None, "RepositoryFull", False),
        (said(sample.failed_answer("NotARepository", "holiday photos")), None, "NotARepository", False),
        (said(sample.failed_answer("StorageError", "I/O error")), None, "StorageError", False),
        (said(sample.failed_answer("InternalError", "a fault")), None, "InternalError", True),
        (said(sample.failed_answer("", "")), None, "ProbeFailed", True),
        (said(TOLD_TO_END), None, "ProbeFailed", True),
        ([], TOLD_TO_END, "ProbeFailed", True),
        ([], None, "ProbeFailed", True),
        ([pod("p1", "Failed", containerStatuses=ended(code=1))], None, "ProbeFailed", True),
    ],
)
def test_decide_probe(pods: list[Obj], remembered: Answer | None, reason: str | None, unfinished: bool) -> None:
    probed = decide_probe(job("j", condition("Complete")), pods, remembered, SPEC)
    assert (probed.problem.reason if probed.problem else None) == reason
    assert probed.is_unfinished is unfinished


@pytest.mark.parametrize("last_words", [None, TOLD_TO_END])
def test_a_probe_that_ran_out_of_time_points_at_the_storage(last_words: Answer | None) -> None:
    probed = decide_probe(job("j", condition("Failed", "DeadlineExceeded", "late")), [], last_words, SPEC)
    assert probed.problem is not None
    assert "storage" in probed.problem.message


def status(
    result: Probed | Problem | None, old: BackupRepositoryStatus | None = None, **more: Any
) -> BackupRepositoryStatus:
    given = {"spec": SPEC, "active": 0, "volume": "pv-1", "found": None, "generation": 1, "now": NOON, **more}
    return next_repository_status(old or BackupRepositoryStatus(), result, **given)


def reason(found: BackupRepositoryStatus) -> str:
    return found.conditions[0].reason


def test_a_good_probe() -> None:
    found = status(Probed(None, "repo-1", ROOM))
    assert [c.type for c in found.conditions] == ["Ready"]
    assert (found.repository_id, found.volume_name, found.last_probe_time) == ("repo-1", "pv-1", NOON)
    assert found.capacity is not None
    assert found.capacity.free == "50.0 GiB of 100 GiB"


def test_the_identity_is_that_of_a_repository_that_can_be_used() -> None:
    good = status(Probed(None, "repo-1", ROOM))
    changed = Probed(Problem("RepositoryChanged", "another one", Meaning.FINAL), "repo-2", ROOM)
    assert status(changed, good).repository_id == "repo-1"


@pytest.mark.parametrize(("meaning", "kind"), [(Meaning.WAIT, "Reconciling"), (Meaning.FINAL, "Stalled")])
def test_a_problem(meaning: Meaning, kind: str) -> None:
    found = status(Problem("ClaimPending", "not bound", meaning))
    assert [(c.type, c.status.value) for c in found.conditions] == [("Ready", "False"), (kind, "True")]
    assert found.last_probe_time is None


def test_nothing_new_changes_nothing_but_the_count() -> None:
    good = status(Probed(None, "repo-1", ROOM))
    assert status(None, good, now=at(60)) == good
    assert status(None, good, active=2, now=at(60)) == good.model_copy(update={"active_backups": 2})
    assert status(None, good, volume=None, now=at(60)) == good


def test_a_backup_that_found_it_full_makes_it_full() -> None:
    good = status(Probed(None, "repo-1", ROOM))
    full = status(None, good, found=TIGHT)
    assert reason(full) == "RepositoryFull"
    assert reason(status(None, good, found=ROOM)) == "Writable"
    # Room alone does not heal what else is wrong.
    broken = status(Probed(Problem("ReadOnly", "no", Meaning.FINAL)))
    healed = status(None, broken, found=ROOM)
    assert reason(healed) == "ReadOnly"
    assert healed.capacity is not None


@pytest.mark.parametrize(("free_files", "words"), [(None, "Writable"), (256, "Writable"), (255, "RepositoryFull")])
def test_a_file_system_without_inodes_is_full(free_files: int | None, words: str) -> None:
    found = status(None, status(Probed(None, "repo-1", ROOM)), found=ROOM.model_copy(update={"free_files": free_files}))
    assert reason(found) == words
    assert ("inodes" in found.conditions[0].message) is (words == "RepositoryFull")


def test_a_note_is_reported_of_a_repository_that_can_be_used() -> None:
    good, bad = Probed(None, "repo-1", ROOM), Probed(Problem("ReadOnly", "no", Meaning.FINAL))
    assert status(good, note="the last scan did not succeed").conditions[0].message == (
        "50.0 GiB free; the last scan did not succeed"
    )
    assert status(bad, note="the last scan did not succeed").conditions[0].message == "no"
    assert status(good, status(good, note="trouble")).conditions[0].message == "50.0 GiB free"


@pytest.mark.parametrize(
    ("found", "in_order"),
    [
        (sample.ready_status("Writable"), True),
        (sample.ready_status("RepositoryFull", status="False"), True),
        (sample.ready_status("ProbeFailed", status="False"), False),
        ({}, False),
    ],
)
def test_a_repository_that_answers(found: Obj, in_order: bool) -> None:
    assert is_in_order(sample.repository("store", found)) is in_order


def test_times_of_transitions_are_kept() -> None:
    good = status(Probed(None, "repo-1", ROOM))
    again = status(Probed(None, "repo-1", ROOM), good, now=at(900))
    assert again.conditions[0].last_transition_time == NOON
    assert again.last_probe_time == at(900)


IMMUTABLE = BackupRepositorySpec.model_validate(sample.repository(immutability={"days": 7})["spec"])


@pytest.mark.parametrize(
    ("bit", "by", "words"),
    [
        (ImmutableBit.USED, Enforcer.FILE_SYSTEM, ""),
        (ImmutableBit.NOT_PERMITTED, Enforcer.OPERATOR, "CAP_LINUX_IMMUTABLE"),
        (ImmutableBit.NOT_SUPPORTED, Enforcer.OPERATOR, "no immutable bit"),
        ("OfALaterVersion", Enforcer.OPERATOR, "OfALaterVersion"),
    ],
)
def test_what_keeps_immutable_points(bit: str, by: Enforcer, words: str) -> None:
    answer = GOOD.model_copy(update={"immutable_bit": bit})
    probed = decide_probe(job("j", condition("Complete")), said(answer), None, IMMUTABLE)
    found = status(probed, spec=IMMUTABLE).immutability
    assert found is not None
    assert found.enforced_by is by
    assert words in found.message
    assert bool(found.message) == bool(words)
    assert status(probed).immutability is None, "without spec.immutability"


def test_what_keeps_them_stays_known_until_a_probe_says_more() -> None:
    before = status(Probed(None, "repo-1", ROOM, ImmutableBit.USED), spec=IMMUTABLE)
    for result in (None, Probed(None, "repo-1", ROOM)):
        assert status(result, before, spec=IMMUTABLE).immutability == before.immutability
    assert status(None, before).immutability is None
