"""Chains of increments: what each holds, what makes a full of one, what is left after a crash."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.dataplane.rig import Bench, initialised
from tests.dataplane.test_full import digest_of, manifest_of
from tests.dataplane.vma import IMPATIENT_VMA, RELEASE_SECONDS, Vma

from sendense_operator.answer import Answer
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.task import BackupType, ExitCode, FullReason
from sendense_operator.worker.storage.chain_folder import read_chain

MIB = 1 << 20


class Points:
    """Backups of one VM, with a copy of its disks as they were at each."""

    def __init__(self, bench: Bench, vma: Vma, folder: Path, vm: dict[str, Any]) -> None:
        self.bench, self.vma, self.folder, self.vm = bench, vma, folder, vm
        self.made: list[tuple[Answer, list[Path]]] = []

    def task(self, **changes: Any) -> Any:
        number = len(self.made)
        return self.bench.task(self.vm, **{"backup": f"b{number}", "type": "Incremental", **changes})

    def back_up(self, **changes: Any) -> Answer:
        """Return one more restore point."""
        worker = self.bench.start(self.task(**changes))
        assert worker.wait() == 0, worker.log()
        self.keep(worker.answer)
        return worker.answer

    def keep(self, answer: Answer) -> None:
        """Remember the disks as they are now for a restore point."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        copies = []
        for disk in self.vm["disks"]:
            copies.append(folder / str(disk["key"]))
            shutil.copyfile(self.vma.disks / disk["file"], copies[-1])
        self.made.append((answer, copies))

    def write(self, count: int, size: int, seed: int, disk: int | None = None) -> None:
        """Random changes of the VM's disks."""
        for index in range(len(self.vm["disks"])) if disk is None else [disk]:
            key = self.vm["disks"][index]["key"]
            body = {"key": key, "count": count, "size": size, "seed": seed + index}
            self.vma.call("POST", f"vms/{self.vm['name']}/write", body)

    def assert_all_read_back(self) -> None:
        """Each restore point that was made, from its own layers."""
        for answer, copies in self.made:
            for disk, copy in zip(answer.disks, copies, strict=True):
                layer = self.bench.repository / disk.file
                command = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(copy), str(layer)]
                compared = subprocess.run(command, check=False, capture_output=True, text=True)
                assert compared.returncode == 0, (answer.manifest, disk.index, compared.stdout + compared.stderr)
            for stored, copy in zip(manifest_of(self.bench, answer).disks, copies, strict=True):
                assert stored.digest.root == digest_of(copy)


def copy_all(folder: Path, target: Path) -> None:
    """Copy what is in a folder, with times and holes, into one that exists."""
    subprocess.run(["cp", "-a", "--sparse=always", f"{folder}/.", str(target)], check=True)


@dataclass(frozen=True)
class SavedPoints:
    """Restore points for several tests: copies of their repository, and of the VMA's disks and change tracking."""

    repository: Path
    repository_id: str
    appliance: Path
    vm: dict[str, Any]
    made: list[tuple[Answer, list[Path]]]

    @classmethod
    def of(cls, points: Points, folder: Path) -> SavedPoints:
        """Save them as they are now, in an empty folder."""
        repository, appliance = folder / "repository", folder / "appliance"
        for source, target in ((points.bench.repository, repository), (points.vma.disks, appliance)):
            target.mkdir()
            copy_all(source, target)
        return cls(repository, points.bench.repository_id, appliance, points.vm, list(points.made))

    def unpacked(self, bench: Bench, vma: Vma, folder: Path) -> Points:
        """Return them in the place of the bench's repository, and of the VMA's VMs."""
        shutil.rmtree(bench.repository)
        bench.repository.mkdir()
        copy_all(self.repository, bench.repository)
        bench.repository_id = self.repository_id
        # It keeps nothing of them in its memory.
        copy_all(self.appliance, vma.disks)
        points = Points(bench, vma, folder, self.vm)
        points.made = list(self.made)
        return points


@pytest.fixture(scope="session")
def saved_full(running_vma: Vma, tmp_path_factory: pytest.TempPathFactory) -> SavedPoints:
    """A full of two disks, one of them of odd size; each has several chunks of digests."""
    folder = tmp_path_factory.mktemp("full")
    running_vma.reset()
    with initialised(folder, running_vma) as bench:
        vm = running_vma.make_vm({"size": 13 * MIB, "kind": "random"}, {"size": 9 * MIB + 1536, "kind": "pattern"})
        points = Points(bench, running_vma, folder, vm)
        points.back_up(type="Full")
        return SavedPoints.of(points, folder)


@pytest.fixture(scope="session")
def saved_chain(saved_full: SavedPoints, running_vma: Vma, tmp_path_factory: pytest.TempPathFactory) -> SavedPoints:
    """It with two increments."""
    folder = tmp_path_factory.mktemp("chain")
    running_vma.reset()
    with initialised(folder, running_vma) as bench:
        points = saved_full.unpacked(bench, running_vma, folder)
        for seed in (1, 2):
            points.write(3, 65536, seed=seed)
            points.back_up()
        return SavedPoints.of(points, folder)


@pytest.fixture
def points(saved_full: SavedPoints, bench: Bench, vma: Vma, tmp_path: Path) -> Points:
    """A full."""
    return saved_full.unpacked(bench, vma, tmp_path)


@pytest.fixture
def chain(saved_chain: SavedPoints, bench: Bench, vma: Vma, tmp_path: Path) -> Points:
    """A full and two increments."""
    return saved_chain.unpacked(bench, vma, tmp_path)


def kinds(answer: Answer) -> list[tuple[BackupType, str]]:
    return [(disk.type, disk.reason) for disk in answer.disks]


INCREMENTS = [(BackupType.INCREMENTAL, "")] * 2


def test_a_chain_of_increments(points: Points, bench: Bench) -> None:
    for number, size in enumerate((4096, 65536, 4096), 2):
        points.write(6, size, seed=number * 10)
        answer = points.back_up()
        assert kinds(answer) == INCREMENTS
        before = points.made[-2][0]
        for disk, parent in zip(answer.disks, before.disks, strict=True):
            assert disk.parent == f"b{number - 2}"
            assert disk.parent_change_id == parent.change_id != disk.change_id
            assert disk.depth == number
            assert Path(disk.file).parent == Path(parent.file).parent
            assert Path(disk.file).name.startswith("incr-")
        for described in manifest_of(bench, answer).disks:
            assert described.received_bytes is not None
            assert described.stored_bytes <= 1.1 * described.received_bytes + MIB
    points.assert_all_read_back()
    manifests = [manifest_of(bench, answer) for answer, _ in points.made]
    assert [manifest.sequence for manifest in manifests] == [1, 2, 3, 4]


def test_nothing_changed(points: Points) -> None:
    answer = points.back_up()
    assert kinds(answer) == INCREMENTS
    points.assert_all_read_back()


def test_no_parent(bench: Bench, vma: Vma, tmp_path: Path) -> None:
    points = Points(bench, vma, tmp_path, vma.make_vm({"size": 4 * MIB, "kind": "random"}))
    assert kinds(points.back_up()) == [(BackupType.FULL, FullReason.NO_PARENT)]
    assert kinds(points.back_up()) == [(BackupType.INCREMENTAL, "")]
    points.assert_all_read_back()


def test_fails_without_a_parent_when_told(bench: Bench, vma: Vma, tmp_path: Path) -> None:
    points = Points(bench, vma, tmp_path, vma.make_vm({"size": 4 * MIB, "kind": "random"}))
    answer = bench.run(points.task(onMissingParent="Fail"))
    assert (answer.outcome, answer.reason) == ("Failed", FullReason.NO_PARENT)
    assert vma.starts() == 0
    assert not bench.files()


@pytest.mark.parametrize("when", ["while it is copied", "at its end"])
def test_fails_for_a_reset_that_shows_in_the_copy(points: Points, bench: Bench, vma: Vma, when: str) -> None:
    """Nothing is committed, whenever it shows; what comes next does not begin at the old change id again."""
    vma.call("PATCH", "settings", IMPATIENT_VMA)
    if when == "while it is copied":
        vma.fault("client", "rate", bytes_per_second=MIB)
    vma.call("POST", f"vms/{points.vm['name']}/reset-cbt", {})
    starts, kept = vma.starts(), bench.files()
    # One that rarely checks the connections learns of it when all is written.
    task = points.task(onMissingParent="Fail", clocks={"cancel": RELEASE_SECONDS})
    worker = bench.start(task, sample=0.5 if when == "while it is copied" else 600.0)
    assert worker.wait() == ExitCode.FATAL
    assert (worker.answer.outcome, worker.answer.reason) == ("Failed", FullReason.CBT_RESET)
    assert "onMissingParent" in worker.answer.message
    assert ("reported a complete disk" in worker.log()) == (when == "at its end"), worker.log()
    assert {name for name in bench.files() - kept if not name.endswith(".unfit")} == set()
    assert bench.run(points.task(onMissingParent="Fail")).reason == FullReason.CBT_RESET
    assert vma.starts() == starts + 1
    vma.call("DELETE", "faults")
    assert kinds(points.back_up())[0] == (BackupType.FULL, FullReason.CBT_RESET)
    points.assert_all_read_back()


def test_a_full_in_between_begins_anew(points: Points) -> None:
    points.write(3, 4096, seed=1)
    assert kinds(points.back_up(type="Full")) == [(BackupType.FULL, "")] * 2
    points.write(3, 4096, seed=2)
    assert {disk.depth for disk in points.back_up().disks} == {2}
    points.assert_all_read_back()


def test_a_chain_that_is_too_long(points: Points) -> None:
    points.back_up(maxDepth=2)
    answer = points.back_up(maxDepth=2)
    assert kinds(answer) == [(BackupType.FULL, FullReason.CHAIN_TOO_LONG)] * 2
    points.assert_all_read_back()


def damaged(bench: Bench) -> set[tuple[str, int]]:
    """Restore points and numbers of their disks of which damage is noted."""
    chain = read_chain(bench.repository, ChainPaths("shop", "db"))
    return {(point.manifest.backup.name, mark.index) for point in chain.points for mark in point.unfit}


def flip(path: Path, at: int) -> None:
    """One bit."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def flip_content(chain: Points, bench: Bench, layer: Path, depth: int) -> None:
    """One bit of a layer that the newest restore point reads through `depth` layers; none of these hides it."""
    newest = bench.repository / chain.made[-1][0].disks[0].file
    command = ["qemu-img", "map", "--output=json", "-f", "qcow2", str(newest)]
    extents = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    seen = [extent for extent in extents if extent["data"] and extent["depth"] == depth]
    flip(layer, seen[len(seen) // 2]["offset"])


@pytest.mark.parametrize("harm", ["flipped", "truncated", "gone", "no image", "digests"])
def test_a_parent_that_is_damaged(chain: Points, bench: Bench, harm: str) -> None:
    """What is wrong with the full is wrong with all that are read through it, and reported for each."""
    layer = bench.repository / chain.made[0][0].disks[0].file
    if harm == "flipped":
        flip_content(chain, bench, layer, depth=2)
    elif harm == "truncated":
        with layer.open("r+b") as file:
            file.truncate(layer.stat().st_size // 2)
    elif harm == "gone":
        layer.unlink()
    elif harm == "no image":
        flip(layer, 0)
    else:
        newest = bench.repository / chain.made[2][0].disks[0].file
        newest.with_name(newest.name + ".digests").write_bytes(b"x" * 32)
    chain.made.clear()
    answer = chain.back_up(backup="after")
    assert kinds(answer) == [(BackupType.FULL, FullReason.PARENT_UNVERIFIED), (BackupType.INCREMENTAL, "")]
    assert damaged(bench) == {(name, 0) for name in (("b2",) if harm == "digests" else ("b0", "b1", "b2"))}
    chain.write(3, 4096, seed=5)
    assert kinds(chain.back_up(backup="next")) == INCREMENTS
    chain.assert_all_read_back()


@pytest.mark.parametrize("harm", ["flipped", "no image"])
def test_damage_between(chain: Points, bench: Bench, harm: str) -> None:
    """What lies below it is as good as ever."""
    layer = bench.repository / chain.made[1][0].disks[0].file
    if harm == "no image":
        flip(layer, 0)
    else:
        flip_content(chain, bench, layer, depth=1)
    full, *_ = chain.made
    chain.made = [full]
    chain.back_up(backup="after")
    assert damaged(bench) == {("b1", 0), ("b2", 0)}
    chain.assert_all_read_back()


def test_killed_at_each_step_of_the_commit(points: Points, bench: Bench, vma: Vma) -> None:
    points.write(4, 65536, seed=3)
    step = 1
    while True:
        task = points.task(backup=f"crash-{step}")
        worker = bench.start(task, stop_at=step)
        code = worker.wait()
        starts = vma.starts()
        answer = worker.answer if code == 0 else bench.run(task)
        assert answer.outcome == "Completed", answer.message
        assert kinds(answer) == INCREMENTS
        assert vma.starts() <= starts + 1
        points.keep(answer)
        if code == 0:
            break
        step += 1
    assert step > 5
    points.assert_all_read_back()
    owned = {name for answer, _ in points.made for name in (answer.manifest, *manifest_of(bench, answer).files())}
    assert bench.files() == owned
