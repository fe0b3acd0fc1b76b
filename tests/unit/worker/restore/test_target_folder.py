"""What a restore finds and leaves in a claim."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.chains import ODD_KINDS, odd, uid_of

from sendense_operator.restore_task import IMAGE, RestoreDisk
from sendense_operator.worker.errors import FATAL, Reason, WorkerError
from sendense_operator.worker.restore.target_claims import Need, check_space
from sendense_operator.worker.restore.target_errors import target_error
from sendense_operator.worker.restore.target_folder import PARTIAL_IMAGE, Content, TargetFolder
from sendense_operator.worker.restore.target_marker import MARKER, FinishedImage, TargetIdentity
from sendense_operator.worker.storage.commit import no_step

CHUNK = 4 << 20
SIZE = CHUNK + 512
DISK = RestoreDisk(index=2, virtual_size=SIZE, claim="data")
IDENTITY = TargetIdentity(restore_uid=uid_of(1), point_uid=uid_of(2), disk=2, size=SIZE)
OTHER_POINT = IDENTITY.model_copy(update={"point_uid": uid_of(3)})
OTHER_RESTORE = IDENTITY.model_copy(update={"restore_uid": uid_of(4)})


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    (tmp_path / "claim" / "lost+found").mkdir(parents=True)
    return tmp_path / "claim"


def folder(claim: Path, identity: TargetIdentity = IDENTITY) -> TargetFolder:
    return TargetFolder(claim, DISK, identity, CHUNK)


def begun(claim: Path, identity: TargetIdentity = IDENTITY) -> TargetFolder:
    made = folder(claim, identity)
    made.inspect()
    made.begin(no_step)
    return made


def names(claim: Path) -> list[str]:
    return sorted(path.name for path in claim.iterdir() if path.name != "lost+found")


def refusal(claim: Path, reason: Reason = Reason.TARGET_NOT_EMPTY) -> str:
    """Return the message with which the claim is refused; what this Restore does not own stays."""
    made = folder(claim)
    with pytest.raises(WorkerError) as caught:
        made.inspect()
    assert (caught.value.reason, caught.value.disk_index) == (reason, 2)
    made.discard()
    made.close()
    return caught.value.message


def test_from_empty_to_finished(claim: Path) -> None:
    made = folder(claim)
    made.inspect()
    assert (made.content, names(claim)) == (Content.EMPTY, [])
    assert made.begin(no_step)
    assert names(claim) == [MARKER, PARTIAL_IMAGE]
    inode = (claim / PARTIAL_IMAGE).stat().st_ino
    made.finish()
    made.publish()
    assert names(claim) == [MARKER, IMAGE]
    made.conclude()
    assert names(claim) == [IMAGE]
    assert (claim / IMAGE).stat().st_ino == inode
    made.discard()
    assert names(claim) == [IMAGE], "nothing discards it any more"


def test_an_unfinished_image_is_continued(claim: Path) -> None:
    made = begun(claim)
    made.file.write(0, b"x" * CHUNK, blank=True)
    made.close()
    again = folder(claim)
    again.inspect()
    assert (again.content, again.is_stale, again.allocated) == (Content.STARTED, False, CHUNK)
    assert not again.begin(no_step)
    assert bytes(again.file.read(0, 1)) == b"x"
    again.discard()
    assert names(claim) == []


def test_the_image_of_another_restore_point_is_begun_anew(claim: Path) -> None:
    made = begun(claim, OTHER_POINT)
    made.file.write(0, b"x" * CHUNK, blank=True)
    made.close()
    again = folder(claim)
    again.inspect()
    assert again.is_stale
    assert again.begin(no_step)
    assert bytes(again.file.read(0, 1)) == b"\0"
    again.close()
    assert (claim / MARKER).read_bytes() == IDENTITY.line()


def test_the_finished_image_of_another_restore_point_is_removed(claim: Path) -> None:
    made = begun(claim, OTHER_POINT)
    made.finish()
    made.publish()
    made.close()
    again = folder(claim)
    again.inspect()
    assert again.begin(no_step)
    assert names(claim) == [MARKER, PARTIAL_IMAGE]


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


@pytest.mark.parametrize("name", [MARKER, PARTIAL_IMAGE, IMAGE])
@pytest.mark.parametrize("kind", ODD_KINDS)
def test_what_is_no_file_is_neither_followed_nor_removed(claim: Path, tmp_path: Path, kind: str, name: str) -> None:
    target = tmp_path / "target"
    target.write_bytes(IDENTITY.line())
    if name != MARKER:
        begun(claim).close()
        (claim / PARTIAL_IMAGE).unlink()
    odd(claim / name, kind, target)
    assert name in refusal(claim)
    assert os.path.lexists(claim / name)
    assert target.read_bytes() == IDENTITY.line()


def test_entries_of_others_are_named(claim: Path) -> None:
    for name in ("d", "c", "b", "a"):
        (claim / name).write_text("mine")
    assert "it holds 'a', 'b', 'c' and 1 more" in refusal(claim)
    assert names(claim) == ["a", "b", "c", "d"]


def test_our_own_is_removed_beside_what_is_not(claim: Path) -> None:
    begun(claim).close()
    (claim / "a").write_text("mine")
    (claim / IMAGE).write_text("mine")
    assert "'a', 'disk.img'" in refusal(claim)
    assert names(claim) == ["a", IMAGE]


def test_an_image_without_marker(claim: Path) -> None:
    (claim / IMAGE).write_bytes(bytes(SIZE))
    made = folder(claim)
    made.inspect()
    assert (made.content, made.is_finished) == (Content.IMAGE_ALONE, True)
    made.examine()
    for step in (made.finish, made.publish, made.conclude, made.discard):
        step()
    made.close()
    assert (claim / IMAGE).read_bytes() == bytes(SIZE)
    (claim / IMAGE).write_bytes(bytes(SIZE - 1))
    assert "it holds 'disk.img'" in refusal(claim)


def test_an_image_with_a_partial_but_without_marker(claim: Path) -> None:
    (claim / IMAGE).write_bytes(bytes(SIZE))
    (claim / PARTIAL_IMAGE).write_text("mine")
    assert PARTIAL_IMAGE in refusal(claim)
    assert names(claim) == [IMAGE, PARTIAL_IMAGE]


def test_an_interruption_after_the_link(claim: Path) -> None:
    made = begun(claim)
    made.finish()
    os.link(claim / PARTIAL_IMAGE, claim / IMAGE)
    made.close()
    again = folder(claim)
    again.inspect()
    assert again.content is Content.FINISHED
    again.examine()
    again.finish()
    again.publish()
    again.conclude()
    assert names(claim) == [IMAGE]


def test_a_finished_image_is_removed_with_the_restore(claim: Path) -> None:
    made = begun(claim)
    made.finish()
    made.publish()
    made.close()
    again = folder(claim)
    again.inspect()
    again.discard()
    assert names(claim) == []


@pytest.mark.parametrize("has_links", [True, False])
def test_an_image_of_somebody_else_is_not_replaced(
    claim: Path, has_links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    made = begun(claim)
    made.finish()
    (claim / IMAGE).write_text("mine")
    with pytest.raises(WorkerError) as caught:
        made.publish()
    assert caught.value.reason == Reason.TARGET_NOT_EMPTY
    made.discard()
    assert names(claim) == [IMAGE]
    assert (claim / IMAGE).read_text() == "mine"
    (claim / IMAGE).unlink()
    made = begun(claim)
    made.finish()
    made.publish()
    made.conclude()
    assert names(claim) == [IMAGE]


def test_a_finished_image_that_was_written_to_is_not_ours(claim: Path) -> None:
    made = begun(claim)
    made.finish()
    made.publish()
    made.close()
    with (claim / IMAGE).open("r+b") as file:
        file.write(b"the guest")
    assert "it holds 'disk.img'" in refusal(claim)
    assert names(claim) == [IMAGE]


def test_an_image_that_was_disowned_stays(claim: Path) -> None:
    made = begun(claim)
    made.finish()
    made.publish()
    assert made.disown().reason == Reason.TARGET_NOT_EMPTY
    made.discard()
    assert names(claim) == [IMAGE]


def test_an_image_alone_that_changes_its_length_is_refused(claim: Path) -> None:
    (claim / IMAGE).write_bytes(bytes(SIZE))
    made = folder(claim)
    made.inspect()
    os.truncate(claim / IMAGE, SIZE + 1)
    with pytest.raises(WorkerError) as caught:
        made.examine()
    assert caught.value.reason == Reason.TARGET_NOT_EMPTY
    made.discard()
    assert names(claim) == [IMAGE]


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


def test_a_partial_that_appears_meanwhile_stays(claim: Path) -> None:
    made = folder(claim)
    made.inspect()
    (claim / PARTIAL_IMAGE).write_text("mine")
    with pytest.raises(WorkerError) as caught:
        made.begin(no_step)
    assert caught.value.reason == Reason.TARGET_NOT_EMPTY
    assert (claim / PARTIAL_IMAGE).read_text() == "mine"


def test_a_claim_that_is_not_there(tmp_path: Path) -> None:
    assert "not mounted" in refusal(tmp_path / "none", Reason.TARGET_ERROR)
    (tmp_path / "file").write_text("x")
    assert "not mounted" in refusal(tmp_path / "file", Reason.TARGET_ERROR)


def test_a_claim_that_is_read_only(claim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    message = refusal(claim, Reason.TARGET_NOT_WRITABLE)
    assert "disk 2, claim data: writing to the claim: Permission denied" in message
    assert "fsGroup" in message


def test_space_is_counted_per_file_system(claim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "second").mkdir()
    folders = [folder(claim), folder(tmp_path / "second")]
    monkeypatch.setattr(TargetFolder, "free", lambda _: (7, 20 << 20))
    needs = [Need(DISK, one, 9 << 20) for one in folders]
    check_space(needs)
    with pytest.raises(WorkerError) as caught:
        check_space([needs[0], Need(DISK, folders[1], (9 << 20) + 1)])
    assert caught.value.reason == Reason.TARGET_TOO_SMALL
    assert "11 MiB are needed for its data, but the claim's file system has only 10 MiB free" in caught.value.message
    folders[1].allocated = 1
    check_space([needs[0], Need(DISK, folders[1], (9 << 20) + 1)])


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, Reason.TARGET_FULL),
        (errno.EDQUOT, Reason.TARGET_FULL),
        (errno.EROFS, Reason.TARGET_NOT_WRITABLE),
        (errno.EACCES, Reason.TARGET_NOT_WRITABLE),
        (errno.EFBIG, Reason.TARGET_TOO_SMALL),
        (errno.EIO, Reason.TARGET_ERROR),
        (errno.ESTALE, Reason.TARGET_ERROR),
    ],
)
def test_errors_of_the_file_system(number: int, reason: Reason) -> None:
    error = target_error(OSError(number, os.strerror(number)), DISK, "writing")
    assert (error.reason, error.disk_index) == (reason, 2)
    assert error.message.startswith(f"disk 2, claim data: writing: {os.strerror(number)}")
    assert (reason in FATAL) == (reason != Reason.TARGET_ERROR)
