"""What is noted of restore points when the newest one turns out to be damaged. Reading images is for the data plane."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.support.chains import PATHS, SIZE, increment, layer, point, write_point
from tests.unit.worker.support import task

from sendense_operator.chain.manifest import Manifest, ManifestDisk
from sendense_operator.task import BackupType, FullReason, TaskDisk
from sendense_operator.worker import parents as module
from sendense_operator.worker import spread
from sendense_operator.worker.chainfolder import read_chain
from sendense_operator.worker.export import ModeChoice
from sendense_operator.worker.lock import ChainLock
from sendense_operator.worker.parents import Parents
from sendense_operator.worker.proof import Unproven
from sendense_operator.worker.reasons import Reason, WorkerError

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
        monkeypatch.setattr(spread, "prove_chunks", self._prove_chunks)

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
    """Names and disks of what is marked after an increment was planned; it must have become a full of disk 0."""
    for manifest in manifests:
        write_point(root, manifest)
    lock = ChainLock.try_acquire(root / PATHS.lock, root, "pod")
    assert lock is not None
    one = task(
        type=BackupType.INCREMENTAL,
        disks=tuple(TaskDisk(index=index, key=2000 + index, size=SIZE, port=10809 + index) for index in (0, 1)),
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


async def test_trouble_with_the_others_does_not_save_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proofs = Proofs(monkeypatch, Unproven("its content is not what was written", chunks=(CHUNK,)))
    proofs.bad, proofs.trouble = {FULL.disks[0].file}, I3.disks[0].file
    assert await proven(tmp_path, FULL, I3, I4) == [("b2", 0), ("b4", 0)]
