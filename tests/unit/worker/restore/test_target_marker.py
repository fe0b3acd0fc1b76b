"""The marker of a claim: whose image lies beside it, and which pod writes it."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from tests.unit.worker.restore.claim_folder import IDENTITY, OTHER_RESTORE, begun, folder, names, refusal

from sendense_operator.restore_task import IMAGE
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.restore.target_folder import Content
from sendense_operator.worker.restore.target_marker import MARKER, FinishedImage
from sendense_operator.worker.restore.target_place import PARTIAL_IMAGE
from sendense_operator.worker.storage.commit import no_step


@pytest.mark.parametrize("data", [b"", IDENTITY.line()[:30], bytes(40)], ids=["empty", "begun", "zeroes"])
def test_a_marker_that_was_not_written_to_its_end(claim: Path, data: bytes) -> None:
    (claim / MARKER).write_bytes(data)
    made = begun(claim)
    assert (claim / MARKER).read_bytes() == IDENTITY.line()
    made.discard()
    (claim / MARKER).write_bytes(data)
    (claim / PARTIAL_IMAGE).write_text("mine")
    refusal(claim)
    assert (claim / PARTIAL_IMAGE).read_text() == "mine"


@pytest.mark.parametrize(
    "data",
    [
        b"not JSON\n",
        b"[]\n",
        b"{}\n",
        b"\xff\n",
        OTHER_RESTORE.line()[:30],
        IDENTITY.line() + b"x" * 5000,
        b"[" * 4000 + b"\n",
    ],
    ids=["text", "list", "empty", "binary", "begun", "huge", "deep"],
)
def test_foreign_markers_stay(claim: Path, data: bytes) -> None:
    (claim / MARKER).write_bytes(data)
    (claim / PARTIAL_IMAGE).write_text("theirs")
    assert "claim data: the claim is not empty" in refusal(claim)
    assert (claim / MARKER).read_bytes() == data
    assert (claim / PARTIAL_IMAGE).read_text() == "theirs"


def abandoned(claim: Path) -> None:
    """What a Restore leaves whose last attempt was ended."""
    (claim / MARKER).write_bytes(OTHER_RESTORE.line())
    (claim / PARTIAL_IMAGE).write_text("half of a disk")


def test_what_another_restore_left_unfinished_is_replaced(claim: Path) -> None:
    abandoned(claim)
    made = folder(claim)
    made.inspect()
    assert (made.is_abandoned, made.content) == (True, Content.STARTED)
    assert (claim / PARTIAL_IMAGE).read_text() == "half of a disk", "not before the first byte"
    assert made.begin(no_step) is True
    assert (claim / MARKER).read_bytes() == IDENTITY.line()
    assert made.file.data_chunks().count(1) == 0
    made.close()


def test_a_restore_that_does_not_begin_leaves_what_another_one_left(claim: Path) -> None:
    abandoned(claim)
    made = folder(claim)
    made.inspect()
    made.discard()
    made.close()
    assert names(claim) == sorted([MARKER, PARTIAL_IMAGE])


def test_what_another_restore_is_writing_stays(claim: Path) -> None:
    abandoned(claim)
    with (claim / MARKER).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another pod is still writing" in refusal(claim, Reason.TARGET_BUSY)
    assert (claim / PARTIAL_IMAGE).read_text() == "half of a disk"


def test_an_image_that_another_restore_finished_stays(claim: Path) -> None:
    """It was interrupted before it could remove its marker."""
    abandoned(claim)
    (claim / PARTIAL_IMAGE).rename(claim / IMAGE)
    found = FinishedImage.of((claim / IMAGE).stat())
    (claim / MARKER).write_bytes(OTHER_RESTORE.line() + found.model_dump_json(by_alias=True).encode() + b"\n")
    assert "disk.img" in refusal(claim)
    assert (claim / IMAGE).read_text() == "half of a disk"


def test_a_second_pod_waits(claim: Path) -> None:
    made = begun(claim)
    assert "another pod is still writing" in refusal(claim, Reason.TARGET_BUSY)
    assert names(claim) == [MARKER, PARTIAL_IMAGE]
    made.close()
    begun(claim).close()


def test_two_pods_that_begin_at_once(claim: Path) -> None:
    first, second = folder(claim), folder(claim)
    first.inspect()
    second.inspect()
    first.begin(no_step)
    with pytest.raises(WorkerError) as caught:
        second.begin(no_step)
    assert caught.value.reason == Reason.TARGET_BUSY
    second.discard()
    assert names(claim) == [MARKER, PARTIAL_IMAGE]


def test_a_marker_that_appears_meanwhile_stays(claim: Path) -> None:
    made = folder(claim)
    made.inspect()
    (claim / MARKER).write_bytes(b"theirs")
    with pytest.raises(WorkerError) as caught:
        made.begin(no_step)
    assert caught.value.reason == Reason.TARGET_BUSY
    made.discard()
    assert (claim / MARKER).read_bytes() == b"theirs"


def test_the_lock_of_a_marker_that_was_replaced_is_none(claim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder removed it, and another pod made one of its own, between open and lock."""
    begun(claim).close()
    flock = fcntl.flock

    def late(fd: int, how: int) -> None:
        (claim / MARKER).unlink()
        (claim / MARKER).write_bytes(IDENTITY.line())
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    refusal(claim, Reason.TARGET_BUSY)
