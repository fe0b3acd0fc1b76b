"""What a restore finds and leaves in a claim."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.chains import ODD_KINDS, odd
from tests.unit.worker.restore.claim_folder import (
    CHUNK,
    DISK,
    IDENTITY,
    OTHER_POINT,
    SIZE,
    begun,
    folder,
    names,
    refusal,
)

from sendense_operator.restore_task import IMAGE
from sendense_operator.worker.errors import FATAL, Reason, WorkerError
from sendense_operator.worker.restore.target_claims import Need, check_space
from sendense_operator.worker.restore.target_errors import target_error
from sendense_operator.worker.restore.target_folder import Content, TargetFolder
from sendense_operator.worker.restore.target_marker import MARKER
from sendense_operator.worker.restore.target_place import PARTIAL_IMAGE
from sendense_operator.worker.storage.commit import no_step


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
