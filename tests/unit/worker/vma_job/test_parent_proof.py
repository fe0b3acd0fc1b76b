"""What is noted of restore points when the newest one turns out to be damaged. Reading images is for the data plane."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.chains import PATHS, SIZE, fill, increment, layer, point, write_point
from tests.unit.worker.support import task

from sendense_operator.chain import layout, parent_blocks
from sendense_operator.chain.manifest import Digest, Manifest, ManifestDisk
from sendense_operator.chain.memory_estimate import DiskLoad, estimate
from sendense_operator.chain.parent_blocks import Unfit, mark_change, mark_damage
from sendense_operator.task import BackupType, FullReason, ParentCheck, TaskDisk
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images import damage_propagation, qemu_tools
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.unproven import Unproven
from sendense_operator.worker.storage.chain_folder import mark_unfit, read_chain
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.vma_job import parent_proof as module
from sendense_operator.worker.vma_job.parent_proof import Parents

OLD = point(1)
FULL = point(2, [layer(2, 0), layer(2, 1)])
I3 = increment(3, FULL)
I4 = increment(4, I3)
CHUNK = 3


class Proofs:
    """What the images would show."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, found: Unproven) -> None:
        self.found = found
        self.bad: set[str] = set()
        """Layers through which the chunk does not read as it was written."""
        self.trouble = ""
        self.asked: list[tuple[str, tuple[int, ...]]] = []
        monkeypatch.setattr(module, "prove", self._prove)
        monkeypatch.setattr(damage_propagation, "prove_chunks", self._prove_chunks)

    async def _prove(self, _: Path, parent: Any, *__: Any) -> None:
        if parent.disk.index == 0:
            raise self.found

    async def _prove_chunks(self, _: Path, stack: tuple[ManifestDisk, ...], chunks: Iterable[int], *__: Any) -> None:
        disk = stack[0]
        assert [layer.parent.file for layer in stack[:-1] if layer.parent] == [layer.file for layer in stack[1:]]
        assert stack[-1].parent is None
        self.asked.append((disk.file, tuple(chunks)))
        if disk.file == self.trouble:
            raise WorkerError(Reason.STORAGE_ERROR, "it hangs")
        if disk.file in self.bad:
            raise Unproven("its content is not what was written", chunks=tuple(chunks))


async def proven(root: Path, *manifests: Manifest) -> list[tuple[str, int]]:
    """Return the names and disks of what is marked after an increment was planned; disk 0 must have become a full."""
    fill(root, *manifests)
    lock = ChainLock.try_acquire(root / PATHS.lock, root, "pod")
    assert lock is not None
    one = task(
        type=BackupType.INCREMENTAL,
        disks=tuple(TaskDisk(index=index, key=2000 + index, virtual_size=SIZE, port=10809 + index) for index in (0, 1)),
    )
    with lock:
        plans = await Parents(root, PATHS, one, read_chain(root, PATHS), lock).plan(ModeChoice(), root, lambda _: None)
    assert [plan.reason for plan in plans] == [FullReason.PARENT_UNVERIFIED, None]
    marked = [(point, mark) for point in read_chain(root, PATHS).points for mark in point.unfit]
    assert {mark.reason for _, mark in marked} == {FullReason.PARENT_UNVERIFIED}
    return [(point.manifest.backup.name, mark.index) for point, mark in marked]


@pytest.mark.parametrize(
    ("at_fault", "marked"), [(FULL, ["b2", "b3", "b4"]), (I3, ["b3", "b4"]), (I4, ["b4"])], ids=["full", "i3", "i4"]
)
async def test_a_layer_that_is_at_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_fault: Manifest, marked: list[str]
) -> None:
    proofs = Proofs(monkeypatch, Unproven("qemu-img check: 3 corruptions", layer=at_fault.disks[0].file))
    assert await proven(tmp_path, OLD, FULL, I3, I4) == [(name, 0) for name in marked]
    assert proofs.asked == []


@pytest.mark.parametrize(
    ("bad", "marked"),
    [((FULL, I3), ["b2", "b3", "b4"]), ((FULL,), ["b2", "b4"]), ((), ["b4"])],
    ids=["all", "b2", "none"],
)
async def test_content_is_read_through_each_point_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: tuple[Manifest, ...], marked: list[str]
) -> None:
    """An increment may have written anew what is wrong below, or hold itself what is wrong."""
    proofs = Proofs(monkeypatch, Unproven("its content is not what was written", chunks=(CHUNK,)))
    proofs.bad = {manifest.disks[0].file for manifest in bad}
    assert await proven(tmp_path, OLD, FULL, I3, I4) == [(name, 0) for name in marked]
    assert proofs.asked == [(FULL.disks[0].file, (CHUNK,)), (I3.disks[0].file, (CHUNK,))]


async def test_of_very_much_damage_a_part_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proofs = Proofs(monkeypatch, Unproven("its content is not what was written", chunks=tuple(range(100_000))))
    await proven(tmp_path, FULL, I3)
    assert [len(chunks) for _, chunks in proofs.asked] == [32]


async def test_something_of_the_newest_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proofs = Proofs(monkeypatch, Unproven("its list of digests is not the one that its manifest knows"))
    assert await proven(tmp_path, FULL, I3) == [("b3", 0)]
    assert proofs.asked == []


class Sound:
    """Images that show nothing wrong, or something wrong with the named layers' content."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bad: set[str] = set()
        self.read: list[bool] = []
        """Of each proof: whether content was read."""
        monkeypatch.setattr(module, "prove", self._prove)
        monkeypatch.setattr(module, "prove_chunks", self._prove_chunks)

    async def _prove(self, _: Path, parent: Any, content: bool, *__: Any) -> None:
        self.read.append(content)

    async def _prove_chunks(self, _: Path, stack: tuple[ManifestDisk, ...], chunks: Iterable[int], *__: Any) -> None:
        assert list(chunks) == [CHUNK]
        if stack[0].file in self.bad:
            raise Unproven("its content is not what was written", chunks=tuple(chunks))


NOW = datetime(2025, 10, 6, tzinfo=UTC)


def damage(manifest: Manifest, **fields: Any) -> Unfit:
    return mark_damage(manifest, manifest.disks[0], "noted", NOW, **fields)


def note(root: Path, manifest: Manifest, *marks: Unfit) -> None:
    (stored,) = [item for item in read_chain(root, PATHS).points if item.manifest == manifest]
    mark_unfit(root, stored, marks)


async def plan(root: Path, check: ParentCheck) -> list[FullReason | None]:
    lock = ChainLock.try_acquire(root / PATHS.lock, root, "pod")
    assert lock is not None
    disks = tuple(TaskDisk(index=index, key=2000 + index, virtual_size=SIZE, port=10809 + index) for index in (0, 1))
    one = task(type=BackupType.INCREMENTAL, disks=disks, parent_check=check)
    with lock:
        plans = await Parents(root, PATHS, one, read_chain(root, PATHS), lock).plan(ModeChoice(), root, lambda _: None)
    return [item.reason for item in plans]


def noted(root: Path) -> list[str]:
    return [item.manifest.backup.name for item in read_chain(root, PATHS).points for _ in item.unfit]


@pytest.mark.parametrize("check", ParentCheck)
@pytest.mark.parametrize(
    ("marks", "bad", "left"),
    [
        ([(I4, {}), (FULL, {"layer": FULL.disks[0].file})], (), []),
        ([(I4, {"chunks": (CHUNK,)}), (I3, {"chunks": (CHUNK,)})], (), []),
        ([(I4, {"chunks": (CHUNK,)}), (I3, {"chunks": (CHUNK,)})], (I3,), ["b3"]),
        ([(I3, {})], (), ["b3"]),
    ],
    ids=["layer", "content", "content below is still wrong", "nothing known of the one below"],
)
async def test_a_proof_lifts_what_it_disproves(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    check: ParentCheck,
    marks: list[tuple[Manifest, dict[str, Any]]],
    bad: tuple[Manifest, ...],
    left: list[str],
) -> None:
    """What was noted holds until its content was read, whichever check the chain asks for."""
    sound = Sound(monkeypatch)
    sound.bad = {manifest.disks[0].file for manifest in bad}
    fill(tmp_path, FULL, I3, I4)
    for manifest, fields in marks:
        note(tmp_path, manifest, damage(manifest, **fields))
    assert await plan(tmp_path, check) == [None, None]
    assert sound.read == [True, check is ParentCheck.CONTENT]
    assert noted(tmp_path) == left
    assert sorted(path.name for path in (tmp_path / PATHS.backups).glob("*.unfit")) == [
        f"{at}.json.unfit" for at in left
    ]


async def test_a_refused_change_is_not_lifted_by_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Sound(monkeypatch)
    write_point(tmp_path, FULL)
    refused = mark_change(FULL, FULL.disks[0], FullReason.CHANGE_ID_REFUSED, "refused", NOW)
    note(tmp_path, FULL, refused, damage(FULL))
    assert await plan(tmp_path, ParentCheck.CONTENT) == [FullReason.CHANGE_ID_REFUSED, None]
    assert noted(tmp_path) == ["b2", "b2"]


async def test_a_tool_that_could_not_run_marks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_point(tmp_path, FULL)

    async def fails(*_: Any) -> None:
        raise WorkerError(Reason.STORAGE_ERROR, "Too many open files")

    monkeypatch.setattr(qemu_tools, "check", fails)
    with pytest.raises(WorkerError, match="Too many open files"):
        await plan(tmp_path, ParentCheck.CONTENT)
    assert noted(tmp_path) == []


AGAIN = point(5, name=FULL.backup.name)


@pytest.mark.parametrize(
    "mark",
    [damage(FULL), mark_change(FULL, FULL.disks[0], FullReason.CBT_RESET, "reset", NOW)],
    ids=["damage", "change"],
)
def test_a_mark_speaks_against_no_other_backup_of_that_name(tmp_path: Path, mark: Unfit) -> None:
    """Such as one that was left by a removal that was cut short."""
    place = write_point(tmp_path, AGAIN)
    (tmp_path / layout.unfit_of(place)).write_bytes(parent_blocks.to_json((mark,)))
    assert noted(tmp_path) == []
    write_point(tmp_path, FULL)
    assert noted(tmp_path) == ["b2"]


def test_a_mark_speaks_against_what_it_was_about_only() -> None:
    other = FULL.disks[0].model_copy(update={"digest": Digest(root="1" * 64, list="x"), "change_id": "other/1"})
    changed = FULL.model_copy(update={"disks": (other, *FULL.disks[1:])})
    for mark in (damage(FULL), mark_change(FULL, FULL.disks[0], FullReason.CBT_RESET, "", NOW)):
        assert mark.is_about(FULL)
        assert not mark.is_about(changed)
        assert not mark.model_copy(update={"index": 2}).is_about(FULL)


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b'[{"index": 0}]'])
def test_marks_that_can_t_be_read_speak_against_all_disks(data: bytes) -> None:
    marks = parent_blocks.from_json(data, NOW, FULL)
    assert [(mark.index, mark.is_damage) for mark in marks] == [(0, True), (1, True)]


def test_a_mark_of_an_earlier_version() -> None:
    old = b'[{"index": 1, "reason": "ParentUnverified", "message": "x", "time": "2025-10-06T00:00:00Z"}]'
    (mark,) = parent_blocks.from_json(old, NOW, FULL)
    assert (mark.index, mark.is_damage) == (1, True)


async def test_trouble_with_the_others_does_not_save_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proofs = Proofs(monkeypatch, Unproven("its content is not what was written", chunks=(CHUNK,)))
    proofs.bad, proofs.trouble = {FULL.disks[0].file}, I3.disks[0].file
    assert await proven(tmp_path, FULL, I3, I4) == [("b2", 0), ("b4", 0)]


async def test_too_little_memory_is_found_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the layers that there are, not of those that the repository would allow."""
    proofs = Proofs(monkeypatch, Unproven("never"))
    fill(tmp_path, FULL, I3, I4)
    lock = ChainLock.try_acquire(tmp_path / PATHS.lock, tmp_path, "pod")
    assert lock is not None
    one = task(type=BackupType.INCREMENTAL, disks=(TaskDisk(index=1, key=2001, virtual_size=SIZE, port=10809),))
    needed = estimate([DiskLoad(SIZE, 4)])
    with lock:
        chain = read_chain(tmp_path, PATHS)
        monkeypatch.setattr(proofs, "found", AssertionError("proven"))
        with pytest.raises(WorkerError, match="in up to 4 layers") as caught:
            await Parents(tmp_path, PATHS, one, chain, lock, memory=needed - 1).plan(ModeChoice(), tmp_path, print)
        assert caught.value.reason == Reason.MEMORY_EXCEEDED
        plans = await Parents(tmp_path, PATHS, one, chain, lock, memory=needed).plan(ModeChoice(), tmp_path, print)
    assert [plan.layers for plan in plans] == [4]
