"""A folder of a claim that receives files beside others: what is in the way there, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.worker.restore.claim_folder import CHUNK, DISK, IDENTITY, OTHER_RESTORE, SIZE

from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.restore.target_folder import Content, TargetFolder
from sendense_operator.worker.restore.target_marker import TargetIdentity
from sendense_operator.worker.restore.target_place import TargetPlace
from sendense_operator.worker.storage.commit import no_step

NAME = "db-b1-disk-2.qcow2"
PARTIAL = f"{NAME}.partial"
MARKER = f".{NAME}.sendense-restore.json"


def place(claim: Path, within: str = "a/b", length: int | None = None, name: str = NAME) -> TargetPlace:
    return TargetPlace.of_file(claim, within, name, length)


def folder(
    claim: Path, identity: TargetIdentity = IDENTITY, *, length: int | None = None, name: str = NAME
) -> TargetFolder:
    return TargetFolder(place(claim, length=length, name=name), DISK, identity, CHUNK)


def names(claim: Path) -> list[str]:
    return sorted(path.name for path in (claim / "a/b").iterdir())


def refusal(claim: Path) -> str:
    made = folder(claim)
    with pytest.raises(WorkerError) as caught:
        made.inspect()
    assert (caught.value.reason, caught.value.disk_index) == (Reason.TARGET_NOT_EMPTY, 2)
    made.discard()
    made.close()
    return caught.value.message


def test_from_nothing_to_a_finished_file(claim: Path) -> None:
    (claim / "mine").write_text("mine")
    made = folder(claim)
    made.inspect()
    assert made.content is Content.EMPTY
    assert made.free()[1] > 0
    assert not (claim / "a").exists(), "nothing is changed"
    assert made.begin(no_step)
    assert names(claim) == [MARKER, PARTIAL]
    assert made.current_path.name == PARTIAL
    made.file.write(0, b"x" * 100, blank=False)
    made.finish()
    made.publish()
    made.conclude()
    assert names(claim) == [NAME]
    assert made.current_path.read_bytes() == b"x" * 100
    assert (claim / "mine").read_text() == "mine"


def test_what_has_no_known_length_is_begun_anew(claim: Path) -> None:
    made = folder(claim)
    made.inspect()
    made.begin(no_step)
    made.file.write(0, b"x" * 100, blank=False)
    before = (claim / "a/b" / PARTIAL).stat().st_ino
    made.finish()
    again = folder(claim)
    made.close()
    again.inspect()
    assert again.begin(no_step), "all of it is new"
    assert again.file.stat().st_size == 0
    again.discard()
    assert names(claim) == []
    assert before


def test_a_raw_file_is_continued(claim: Path) -> None:
    made = folder(claim, length=SIZE)
    made.inspect()
    made.begin(no_step)
    made.file.write(0, b"x" * CHUNK, blank=True)
    made.close()
    again = folder(claim, length=SIZE)
    again.inspect()
    assert not again.begin(no_step)
    assert bytes(again.file.read(0, 1)) == b"x"
    again.close()


def test_other_files_are_in_nobody_s_way(claim: Path) -> None:
    one = folder(claim)
    one.inspect()
    one.begin(no_step)
    two = folder(claim, OTHER_RESTORE, name="db-b1-disk-3.qcow2")
    two.inspect()
    two.begin(no_step)
    two.discard()
    assert names(claim) == [MARKER, PARTIAL]
    one.discard()
    assert names(claim) == []


@pytest.mark.parametrize("taken", [NAME, PARTIAL, MARKER])
def test_what_is_in_the_way_stays(claim: Path, taken: str) -> None:
    (claim / "a/b").mkdir(parents=True)
    if taken == NAME:
        (claim / "a/b" / taken).symlink_to(claim)
    else:
        (claim / "a/b" / taken).write_text("mine")
    words = refusal(claim)
    assert f"disk 2, claim data: folder a/b holds '{taken}'" in words
    assert "name another folder or claim" in words
    assert names(claim) == [taken]


def test_a_finished_file_of_the_name_has_to_be_proven(claim: Path) -> None:
    (claim / "a/b").mkdir(parents=True)
    (claim / "a/b" / NAME).write_text("mine")
    made = folder(claim)
    made.inspect()
    assert (made.content, made.is_finished) == (Content.IMAGE_ALONE, True)
    made.examine()
    assert "db-b1-disk-2.qcow2 in folder a/b is not the disk of this restore point" in made.disown().message
    made.discard()
    assert names(claim) == [NAME]


@pytest.mark.parametrize("odd", ["link", "file"])
def test_no_folder_on_the_way(claim: Path, tmp_path: Path, odd: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    if odd == "link":
        (claim / "a").symlink_to(outside)
    else:
        (claim / "a").write_text("mine")
    assert "a in the claim is not a folder" in refusal(claim)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("root", ["", "a", "a/b"])
def test_no_folder_inside_a_repository(claim: Path, root: str) -> None:
    """Its scan would take the files for orphans."""
    (claim / root).mkdir(parents=True, exist_ok=True)
    (claim / root / ".sendense-repository.json").write_text("{}")
    assert "the claim holds a repository there" in refusal(claim)
    outside = TargetFolder(place(claim, "other"), DISK, IDENTITY, CHUNK)
    if root:
        outside.inspect()
        return
    with pytest.raises(WorkerError):
        outside.inspect()


def test_the_root_of_the_claim(claim: Path) -> None:
    root = place(claim, "")
    assert root.image_path == claim / NAME
    assert "the claim holds 'x'" in root.refuse(DISK, ["x"]).message
    (claim / "x").write_text("mine")
    assert root.names() == {"x"}
    root.prepare()


def test_a_claim_that_is_not_mounted(tmp_path: Path) -> None:
    made = folder(tmp_path / "none")
    with pytest.raises(WorkerError) as caught:
        made.inspect()
    assert caught.value.reason == Reason.TARGET_ERROR
