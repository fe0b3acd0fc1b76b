"""Pure parts: change tracking, the plan of a full copy, generated disks, NBD targets."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_vma import cbt, disks, plan
from reference_vma.spec import DiskSpec, FaultSpec, JobSpec
from reference_vma.targets import TargetError, parse_targets, parse_url

KIB, MIB = 1 << 10, 1 << 20
CHUNK = cbt.CHUNK


@pytest.mark.parametrize(
    ("areas", "merged"),
    [
        ([], []),
        ([(0, 5)], [(0, 5)]),
        ([(0, CHUNK), (CHUNK + MIB, CHUNK)], [(0, 2 * CHUNK + MIB)]),
        ([(0, CHUNK), (CHUNK + MIB + 1, CHUNK)], [(0, CHUNK), (CHUNK + MIB + 1, CHUNK)]),
    ],
)
def test_changes_up_to_1_mib_apart_become_one(areas: list[cbt.Area], merged: list[cbt.Area]) -> None:
    assert cbt.merge_areas(areas) == merged


@given(st.integers(1, 40 * CHUNK), st.lists(st.integers(0, 40 * CHUNK - 1), max_size=8))
def test_each_changed_byte_lies_in_an_area(size: int, places: list[int]) -> None:
    old = bytearray(size)
    new = bytearray(size)
    for place in places:
        new[place % size] = 1

    def hashes(data: bytearray) -> bytes:
        return b"".join(cbt._digest(bytes(data[at : at + CHUNK])) for at in range(0, size, CHUNK))

    areas = cbt.changed_areas(hashes(old), hashes(new), size)
    changed = {place % size for place in places}
    assert all(any(offset <= place < offset + length for offset, length in areas) for place in changed)
    assert {place // CHUNK for place in changed} == {
        index for offset, length in areas for index in range(offset // CHUNK, -(-(offset + length) // CHUNK))
    }
    assert all(offset + length <= size for offset, length in areas)


@pytest.mark.parametrize("size", [1, CHUNK, 3 * CHUNK + 512, 17 * MIB + 512])
def test_holes_hash_as_zeroes_do(tmp_path: Path, size: int) -> None:
    sparse, dense = tmp_path / "sparse", tmp_path / "dense"
    os.truncate(os.open(sparse, os.O_CREAT | os.O_WRONLY), size)
    dense.write_bytes(bytes(size))
    assert cbt.hash_file(sparse, size) == cbt.hash_file(dense, size)
    with sparse.open("r+b") as file:
        file.seek(size - 1)
        file.write(b"x")
    assert len(cbt.changed_areas(cbt.hash_file(dense, size), cbt.hash_file(sparse, size), size)) == 1


def test_tracking_counts_changes(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4 * CHUNK))

    def snapshot() -> cbt.DiskTracking:
        tracking = cbt.DiskTracking.load(tmp_path / "state", "vm", 2000)
        tracking.record(disk, disk.stat().st_size, cbt.file_stamp(disk))
        return tracking

    assert cbt.DiskTracking.load(tmp_path / "state", "vm", 2000).change_id == ""
    first = snapshot()
    assert snapshot().change_id == first.change_id
    disk.write_bytes(bytes(CHUNK) + b"x" + bytes(3 * CHUNK - 1))
    second = snapshot()
    assert (second.uuid, second.number) == (first.uuid, 2)
    assert second.areas_since(first.change_id, 2, 4 * CHUNK) == [(CHUNK, CHUNK)]
    for wrong in (f"{first.uuid}/3", f"{first.uuid}/0", f"{first.uuid}/x", "other/1", ""):
        with pytest.raises(cbt.ChangeIdRefusedError):
            second.areas_since(wrong, 2, 4 * CHUNK)
    second.forget()
    third = snapshot()
    assert (third.uuid, third.number) == (first.uuid, 3)
    assert third.areas_since(third.change_id, 3, 4 * CHUNK) == []
    for reported in (first.change_id, second.change_id.replace("/3", "/2")):
        with pytest.raises(cbt.ChangeIdRefusedError):
            third.areas_since(reported, 3, 4 * CHUNK)


@given(st.integers(1, 2 << 30), st.integers(1, 8))
def test_a_full_covers_the_disk_once(size: int, workers: int) -> None:
    position = 0
    for offset, length in (block for blocks in plan.plan_full(size, workers) for block in blocks):
        assert offset == position
        assert 0 < length <= plan.MAX_BLOCK
        position += length
    assert position == size


@given(st.integers(0, 1 << 40), st.integers(1, plan.MAX_BLOCK))
def test_samples_lie_within_their_block(offset: int, length: int) -> None:
    samples = plan.sample_offsets((offset, length))
    assert 1 <= len(samples) <= plan.SAMPLES
    assert samples == sorted(samples)
    assert all(offset <= sample < offset + length for sample in samples)


@pytest.mark.parametrize("size", [400 * KIB, 5 * MIB, 40 * MIB + 512, 300 * MIB])
def test_hidden_data_is_hidden(tmp_path: Path, size: int) -> None:
    path = tmp_path / "disk"
    disks.make_disk(path, {"kind": "hidden", "size": size}, "1", 4)
    data = path.read_bytes()
    assert any(data)

    def read(count: int, offset: int) -> bytes:
        return data[offset : offset + count]

    blocks = [block for blocks in plan.plan_full(size, 4) for block in blocks]
    assert all(plan.looks_empty(read, block) for block in blocks)


@pytest.mark.parametrize(
    ("spec", "low", "high"),
    [
        ({"kind": "empty"}, 0.0, 0.0),
        ({"kind": "random"}, 1.0, 1.0),
        ({"kind": "pattern"}, 0.57, 0.59),
        ({"kind": "pattern", "data_fraction": 0.25, "extent": 65536}, 0.24, 0.26),
    ],
)
def test_disks_hold_what_was_requested(tmp_path: Path, spec: dict[str, Any], low: float, high: float) -> None:
    size = 64 * MIB
    contents = []
    for copy in range(2):
        disks.make_disk(tmp_path / str(copy), {**spec, "size": size}, "7", 4)
        contents.append((tmp_path / str(copy)).read_bytes())
    assert contents[0] == contents[1]
    chunks = [contents[0][at : at + CHUNK] for at in range(0, size, CHUNK)]
    filled = [chunk for chunk in chunks if any(chunk)]
    assert low <= len(filled) / len(chunks) <= high
    assert len(set(filled)) == len(filled)
    assert (tmp_path / "0").stat().st_blocks * 512 <= size * high + MIB


@pytest.mark.skipif(not shutil.which("debugfs"), reason="needs e2fsprogs")
def test_an_ext4_disk_holds_its_files(tmp_path: Path) -> None:
    disks.make_disk(tmp_path / "disk", {"kind": "ext4", "size": 32 * MIB, "files": 12}, "3", 4)
    listed = subprocess.run(
        ["debugfs", "-R", "ls -p /home/ada", str(tmp_path / "disk")], capture_output=True, text=True, check=True
    )
    assert "data-0001.bin" in listed.stdout


def test_random_ranges_are_sectors_of_the_disk() -> None:
    ranges = disks.random_ranges(MIB + 512, 200, 100, 5000, random.Random(1))
    assert {value % 512 for area in ranges for value in area} == {0}
    assert all(offset + length <= MIB + 512 for offset, length in ranges)


def test_targets() -> None:
    targets = parse_targets("2000:nbd://10.0.0.1:10100/a-disk0,2001:nbds://[fd00::1]/b-disk12")
    first, second = (parse_url(url) for url in targets.values())
    assert list(targets) == ["2000", "2001"]
    assert (first.host, first.port, first.disk_index("backup-x")) == ("10.0.0.1", 10100, 0)
    assert (second.host, second.port, second.disk_index("backup-x")) == ("fd00::1", 10809, 12)
    assert second.disk_index("backup-x-disk3-y") == 3


@pytest.mark.parametrize("url", ["nbd://", "nbd://h:x/disk0", "nbd://[::1/disk0"])
def test_targets_that_are_none(url: str) -> None:
    with pytest.raises(TargetError):
        parse_url(url)


def test_an_export_name_without_a_number() -> None:
    with pytest.raises(TargetError):
        parse_url("nbd://h/diskN").disk_index("backup-1")


def test_a_job_survives_its_line() -> None:
    job = JobSpec("backup-1", "/DC1/vm/a\nb", "u", "http://x", "t", (DiskSpec(2000, "/d", 5),), "/s", "/t")
    job = JobSpec(**{**job.__dict__, "faults": (FaultSpec("die", bytes=3),)})
    assert job.to_line().count("\n") == 1
    assert JobSpec.from_line(job.to_line()) == job
    assert (job.vm_name, job.fault("die"), job.fault("half")) == ("a\nb", FaultSpec("die", bytes=3), None)
