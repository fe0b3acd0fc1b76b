"""Restores from real images into files of each format: content, proof, and what stays behind."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.dataplane.exporting import (
    ALL,
    FOLDER,
    assert_exported,
    file_names,
    found,
    run_into,
    sums_in,
    unpacked,
)
from tests.dataplane.host import almost_full
from tests.dataplane.layered_chain import SIZE, LayeredChain, remove
from tests.dataplane.restoring import LAST, KilledError, data_bytes
from tests.dataplane.rig import Bench

from sendense_operator.answer import DamagedRange
from sendense_operator.chain.export_files import DiskData, claim_file, most_bytes
from sendense_operator.chain.manifest import CHUNK
from sendense_operator.chain.vmdk import pack_grains
from sendense_operator.restore_task import FileFormat
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.restore import disk_restore
from sendense_operator.worker.restore.target_file import TargetFile

STREAMED = "sendense_operator.worker.restore.stream_image.pack_grains"
STREAMS = (FileFormat.VMDK, FileFormat.OVA)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A claim for files, with what others have put there."""
    (tmp_path / "targets/files/lost+found").mkdir(parents=True)
    (tmp_path / "targets/files/notes.txt").write_text("mine")
    return tmp_path / "targets"


@pytest.mark.parametrize("point", [1, 3, 4, 5])
@pytest.mark.parametrize("kind", ALL)
async def test_each_format_holds_each_restore_point(
    sound: LayeredChain, files: Path, tmp_path: Path, kind: FileFormat, point: int
) -> None:
    run = run_into(sound, files, kind, point)
    answer = await run.answer()
    assert (answer.outcome, answer.message) == ("Completed", "")
    assert_exported(sound, files, kind, tmp_path, point)
    assert (files / "files/notes.txt").read_text() == "mine"
    needs = 0
    for index, disk in enumerate(answer.restored):
        expected = data_bytes(sound, point, index)
        assert (disk.index, disk.data_bytes, disk.written_bytes, disk.damaged) == (index, expected, expected, ())
        needs += most_bytes([DiskData(SIZE, expected, -(-expected // CHUNK))], kind)
    stored = [(files / "files" / FOLDER / name).stat() for name in file_names(kind, point)]
    assert sum(one.st_blocks for one in stored) * 512 <= needs + (1 << 20), "what is zeroes is left out"
    assert all(one.st_mode & 0o777 == 0o660 for one in stored)
    assert all(disk.completed and disk.received_bytes == SIZE for disk in run.state.progress().disks)


@pytest.mark.parametrize("kind", ALL)
async def test_what_deflate_can_not_compress_fits_into_the_estimate(
    tmp_path: Path, files: Path, kind: FileFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise is what an image is largest for. The estimate decides about room before the first byte."""
    chain = LayeredChain(tmp_path / "noise")
    chain.add({0: 11, 1: 12, 2: 13, 3: 14, 4: 15})
    compress = pack_grains

    def noise(first: int, data: Any) -> Any:
        return compress(first, os.urandom(len(data)))

    monkeypatch.setattr(STREAMED, noise)
    run = run_into(chain, files, kind, 1, disks=(0,))
    if kind in STREAMS:
        assert (await run.error()).reason == Reason.TARGET_FAULTY, "it is another disk"
        path = files / "files" / FOLDER / (file_names(kind, 1)[0] + ".partial")
    else:
        await run.answer()
        path = files / "files" / FOLDER / claim_file("db", "b1", 0, kind)
    most = most_bytes([DiskData.full(SIZE)], kind)
    assert path.stat().st_size <= most <= SIZE * 1.02 + (2 << 20)


async def test_the_parts_of_an_archive(sound: LayeredChain, files: Path) -> None:
    await run_into(sound, files, FileFormat.OVA).answer()
    path = files / "files" / FOLDER / "db-b4.ova"
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        contents = {member.name: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    names = ["db-b4.ovf", "db-b4.mf", "db-b4-disk-0.vmdk", "db-b4-disk-1.vmdk"]
    assert [member.name for member in members] == names
    assert path.stat().st_size % tarfile.RECORDSIZE == 0
    assert sums_in(path) == {
        name: hashlib.sha256(contents[name]).hexdigest() for name in names if not name.endswith(".mf")
    }
    for name in names[2:]:
        assert f'ovf:size="{len(contents[name])}"'.encode() in contents["db-b4.ovf"]


@pytest.mark.parametrize("kind", ALL)
async def test_a_lost_answer_is_given_again(sound: LayeredChain, files: Path, tmp_path: Path, kind: FileFormat) -> None:
    first = await run_into(sound, files, kind).answer()
    paths = [files / "files" / FOLDER / name for name in file_names(kind)]
    before = [(one.stat().st_ino, one.stat().st_mtime_ns) for one in paths]
    answer = await run_into(sound, files, kind).answer()
    assert [disk.written_bytes for disk in answer.restored] == [0, 0]
    assert [disk.data_bytes for disk in answer.restored] == [disk.data_bytes for disk in first.restored]
    assert_exported(sound, files, kind, tmp_path)
    assert [(one.stat().st_ino, one.stat().st_mtime_ns) for one in paths] == before


@pytest.mark.parametrize(
    ("kind", "step"), [(kind, step) for kind in ALL for step in range(6 if kind is FileFormat.OVA else 10)]
)
async def test_an_interruption_at_each_step(
    sound: LayeredChain, files: Path, tmp_path: Path, kind: FileFormat, step: int
) -> None:
    run = run_into(sound, files, kind)
    run.kill_at = step
    with pytest.raises(KilledError):
        await run.answer()
    published = 6 if kind is not FileFormat.OVA else 4
    if step < published:
        assert not set(found(files)) & set(file_names(kind))
    await run_into(sound, files, kind).answer()
    assert_exported(sound, files, kind, tmp_path)


@pytest.mark.parametrize("kind", ALL)
def test_a_worker_that_is_killed_and_its_successor(
    bench: Bench, chain: LayeredChain, files: Path, tmp_path: Path, kind: FileFormat
) -> None:
    task = run_into(chain, files, kind).task
    where = {"repository": str(chain.root), "targets": str(files)}
    for step in (1, 2, 3, 4):  # in between, the files get their final names
        worker = bench.start(task, stop_at=step, **where)
        assert worker.wait() == -9
    answer = bench.run(task, **where)
    assert (answer.outcome, answer.reason) == ("Completed", "")
    assert_exported(chain, files, kind, tmp_path)


@pytest.mark.parametrize("requested", [True, False], ids=["cancelled", "terminated"])
@pytest.mark.parametrize("kind", ALL)
async def test_a_cancellation_removes_and_a_termination_keeps(
    sound: LayeredChain, files: Path, tmp_path: Path, kind: FileFormat, requested: bool
) -> None:
    await run_into(sound, files, kind).stop_in_the_middle(requested=requested)
    if requested:
        assert found(files) == []
        return
    assert not set(found(files)) & set(file_names(kind))
    await run_into(sound, files, kind).answer()
    assert_exported(sound, files, kind, tmp_path)


@pytest.mark.parametrize("kind", ALL)
async def test_a_flipped_bit_in_the_repository(chain: LayeredChain, files: Path, kind: FileFormat) -> None:
    chain.flip(chain.points[0], 1)
    error = await run_into(chain, files, kind, 2).error()
    assert (error.reason, error.disk_index) == (Reason.RESTORE_POINT_DAMAGED, 0)
    assert f"the content at byte {CHUNK} of the disk is not what was written" in error.message
    assert found(files) == []


@pytest.mark.parametrize("kind", ALL)
async def test_damage_becomes_zeroes_if_the_task_allows_it(
    chain: LayeredChain, files: Path, tmp_path: Path, kind: FileFormat
) -> None:
    chain.flip(chain.points[0], 1)
    chain.flip(chain.points[0], 4)
    for _ in range(2):
        answer = await run_into(chain, files, kind, 2, allow_damaged=True).answer()
        damaged = (DamagedRange(offset=CHUNK, length=CHUNK), DamagedRange(offset=4 * CHUNK, length=LAST))
        assert answer.restored[0].damaged == damaged
        expected = bytearray(chain.content(chain.points[1]))
        expected[CHUNK : 2 * CHUNK], expected[4 * CHUNK :] = bytes(CHUNK), bytes(LAST)
        assert unpacked(files, kind, tmp_path, 2) == expected


def damage_after_writing(monkeypatch: pytest.MonkeyPatch, at: int, folder: Path, times: int = 1) -> None:
    """Flip a bit of the first unfinished file whenever it was made durable, `times` times."""
    settle, left = TargetFile.settle, list(range(times))

    def settled(self: TargetFile) -> None:
        settle(self)
        if left:
            left.pop()
            path = min(folder.glob("*.partial"))
            with path.open("r+b") as file:
                file.seek(at if at >= 0 else path.stat().st_size + at)
                value = file.read(1)
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([value[0] ^ 1]))

    monkeypatch.setattr(TargetFile, "settle", settled)


@pytest.mark.parametrize(
    ("kind", "at"),
    [
        (FileFormat.VMDK, (64 << 10) + 300),
        (FileFormat.VMDK, 8),
        (FileFormat.OVA, 600),
        (FileFormat.OVA, -1),
        (FileFormat.OVA, (64 << 10) + 8192),
    ],
    ids=["grain", "header", "descriptor", "end", "disk"],
)
async def test_a_bit_that_flips_in_the_target_is_found(
    sound: LayeredChain, files: Path, tmp_path: Path, kind: FileFormat, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        damage_after_writing(patch, at, files / "files" / FOLDER, times=9 if at in (600, -1) else 1)
        error = await run_into(sound, files, kind).error()
    assert error.reason in (Reason.TARGET_FAULTY, Reason.TARGET_ERROR)
    assert not set(found(files)) & set(file_names(kind))
    await run_into(sound, files, kind).answer()
    assert_exported(sound, files, kind, tmp_path)


@pytest.mark.parametrize("kind", [FileFormat.RAW, FileFormat.QCOW2])
async def test_what_was_written_wrong_is_written_once_more(
    sound: LayeredChain, files: Path, tmp_path: Path, kind: FileFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, left = TargetFile.settle, [1]

    def settled(self: TargetFile) -> None:
        settle(self)
        if left:
            left.pop()
            path = min((files / "files" / FOLDER).glob("*.partial"))
            driver = "raw" if kind is FileFormat.RAW else "qcow2"
            command = ["-c", f"write -P 99 {3 * CHUNK + 70_000} 512", "-c", f"write -P 98 {2 * CHUNK} 65536"]
            subprocess.run(["qemu-io", "-f", driver, *command, str(path)], check=True, stdout=subprocess.DEVNULL)

    monkeypatch.setattr(TargetFile, "settle", settled)
    answer = await run_into(sound, files, kind).answer()
    assert answer.restored[0].written_bytes > data_bytes(sound, 4, 0)
    assert_exported(sound, files, kind, tmp_path)


@pytest.mark.parametrize("kind", ALL)
async def test_a_claim_without_room(sound: LayeredChain, tmp_path: Path, kind: FileFormat) -> None:
    with almost_full(tmp_path / "small", "files", 2 * CHUNK) as targets:
        run = run_into(sound, targets, kind)
        error = await run.error()
        assert (error.reason, run.steps) == (Reason.TARGET_TOO_SMALL, [])
        name = file_names(kind)[0]
        assert f"MiB are needed for {name} at most, but the claim's file system has only " in error.message
        assert "MiB free" in error.message
        assert found(targets) == []


@pytest.mark.parametrize("kind", [FileFormat.QCOW2, *STREAMS])
async def test_a_claim_that_becomes_full(tmp_path: Path, kind: FileFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = LayeredChain(tmp_path / "repository")
    chain.add({0: 11, 1: 12, 2: 13, 3: 14, 4: 15})
    compress = pack_grains
    monkeypatch.setattr(STREAMED, lambda first, data: compress(first, os.urandom(len(data))))
    monkeypatch.setattr(disk_restore.DiskRestore, "needed", DiskData(SIZE, 0, 0))
    with almost_full(tmp_path / "small", "files", 2 * CHUNK) as targets:
        error = await run_into(chain, targets, kind, 1, disks=(0,)).error()
        assert error.reason == Reason.TARGET_FULL
        assert "disk 0, claim data-0: " in error.message
        assert found(targets) == []


@pytest.mark.parametrize("kind", ALL)
async def test_a_file_of_somebody_else_stays(sound: LayeredChain, files: Path, kind: FileFormat) -> None:
    place = files / "files" / FOLDER
    place.mkdir(parents=True)
    for name in (file_names(kind)[-1], file_names(kind)[-1] + ".partial"):
        (place / name).write_bytes(b"x" * SIZE)
        error = await run_into(sound, files, kind).error()
        assert error.reason == Reason.TARGET_NOT_EMPTY
        assert name in error.message
        assert "name another folder or claim" in error.message
        assert found(files) == [name]
        assert (place / name).read_bytes() == b"x" * SIZE
        (place / name).unlink()


async def test_no_link_is_followed(sound: LayeredChain, files: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (files / "files/exports").symlink_to(outside)
    error = await run_into(sound, files, FileFormat.RAW).error()
    assert (error.reason, list(outside.iterdir())) == (Reason.TARGET_NOT_EMPTY, [])
    assert "exports in the claim is not a folder" in error.message


def make_hostile_images(chain: LayeredChain, place: Path, precious: Path) -> None:
    """Make images of the final names, whose backing file or extent is `precious`, with the content of the disk."""
    precious.write_bytes(chain.content(chain.points[3]))
    place.mkdir(parents=True)
    qcow2 = place / file_names(FileFormat.QCOW2)[0]
    backing = ["-b", str(precious), "-F", "raw"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(qcow2), str(SIZE)], check=True)
    vmdk = place / file_names(FileFormat.VMDK)[0]
    extent = '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
    vmdk.write_text(f'{extent}RW {SIZE // 512} FLAT "{precious}" 0\n')


async def test_an_image_that_names_other_files_is_not_opened(sound: LayeredChain, files: Path, tmp_path: Path) -> None:
    """An image of the final name, whose backing file or extent is a file that the worker can read."""
    make_hostile_images(sound, files / "files" / FOLDER, tmp_path / "precious.raw")
    for kind in (FileFormat.QCOW2, FileFormat.VMDK):
        error = await run_into(sound, files, kind, disks=(0,)).error()
        assert error.reason == Reason.TARGET_NOT_EMPTY
        assert "is not the disk of this restore point" in error.message


@pytest.mark.parametrize("length", [1 << 40, 1 << 80])
async def test_an_archive_that_lies_about_its_lengths(sound: LayeredChain, files: Path, length: int) -> None:
    await run_into(sound, files, FileFormat.OVA).answer()
    path = files / "files" / FOLDER / "db-b4.ova"
    with tarfile.open(path) as archive:
        members = archive.getmembers()
    lying = members[2]
    lying.size = length
    with path.open("r+b") as file:
        file.seek(lying.offset)
        file.write(lying.tobuf(tarfile.GNU_FORMAT))
    error = await run_into(sound, files, FileFormat.OVA).error()
    assert error.reason == Reason.TARGET_NOT_EMPTY
    assert "db-b4.ova in folder exports/today is not the disk of this restore point" in error.message
    assert path.exists()


async def test_two_restores_into_one_folder(sound: LayeredChain, files: Path, tmp_path: Path) -> None:
    await run_into(sound, files, FileFormat.OVA, 3).answer()
    await run_into(sound, files, FileFormat.QCOW2, 4).answer()
    assert found(files) == sorted([*file_names(FileFormat.OVA, 3), *file_names(FileFormat.QCOW2, 4)])
    expected = sound.content(sound.points[2])
    assert unpacked(files, FileFormat.OVA, tmp_path, 3) == expected


async def test_a_restore_point_that_is_gone(chain: LayeredChain, files: Path) -> None:
    run = run_into(chain, files, FileFormat.OVA)
    run.kill_at = 3
    with pytest.raises(KilledError):
        await run.answer()
    remove(chain, 4)
    with pytest.raises(WorkerError, match="RestorePointGone"):
        await run_into(chain, files, FileFormat.OVA).answer()
    assert found(files) == []
