"""Chains of increments that the worker compacts before it commits them, with the appliance."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.dataplane.rig import Bench
from tests.dataplane.test_full import manifest_of
from tests.dataplane.test_incremental import INCREMENTS, MIB, Points, kinds
from tests.dataplane.vma import Vma

from sendense_operator.answer import Answer
from sendense_operator.chain.compaction import CompactionResult
from sendense_operator.task import ExitCode, PointReference, VerificationLevel, VerificationTask

_COMPACTION_STEPS = 10
"""Of two disks together."""


@pytest.fixture
def points(bench: Bench, vma: Vma, tmp_path: Path) -> Points:
    """A full of two disks, one of them of odd size; each has several chunks of digests."""
    vm = vma.make_vm({"size": 13 * MIB, "kind": "random"}, {"size": 9 * MIB + 1536, "kind": "pattern"})
    points = Points(bench, vma, tmp_path, vm)
    points.back_up(type="Full")
    return points


def back_up(points: Points, **changes: object) -> Answer:
    """Return one more restore point, which was compacted if that made it smaller."""
    worker = points.bench.start(points.task(**changes), compacts_all=True)
    assert worker.wait() == ExitCode.COMPLETED, worker.log()
    points.keep(worker.answer)
    return worker.answer


def test_a_chain_of_compacted_increments(points: Points, bench: Bench) -> None:
    """Each is the parent of the next, proven with its content, and holds little more than what changed."""
    for seed in range(3):
        points.write(6, 4096, seed=seed * 10)
        answer = back_up(points)
        assert kinds(answer) == INCREMENTS
        for disk, stored in zip(answer.disks, manifest_of(bench, answer).disks, strict=True):
            assert disk.compaction == stored.compaction == CompactionResult.COMPACTED
            assert disk.changed_bytes == stored.changed_bytes == stored.coverage
            assert 0 < (disk.changed_bytes or 0) <= 12 * 4096 < disk.received_bytes
            assert disk.guest_bytes <= disk.changed_bytes
    points.assert_all_read_back()
    references = tuple(
        PointReference(backup=manifest.backup.name, backup_uid=manifest.backup.uid)
        for manifest in (manifest_of(bench, answer) for answer, _ in reversed(points.made))
    )
    task = VerificationTask(
        namespace="shop", vm="db", chain="db", repository_id=bench.repository_id,
        level=VerificationLevel.CONTENT, points=references,
    )  # fmt: skip
    assert bench.run(task).results == "v" * 4


def test_what_never_compacts(points: Points) -> None:
    points.write(6, 4096, seed=1)
    answer = back_up(points, compaction="Never")
    assert [(disk.compaction, disk.changed_bytes) for disk in answer.disks] == [(CompactionResult.NEVER, None)] * 2
    points.assert_all_read_back()


def test_a_full_is_not_compacted(points: Points) -> None:
    answer = back_up(points, type="Full")
    assert [(disk.compaction, disk.changed_bytes) for disk in answer.disks] == [("", None)] * 2


def test_writes_of_the_compaction_that_are_lost(points: Points, bench: Bench) -> None:
    """The increment is committed as it was received."""
    points.write(6, 4096, seed=1)
    worker = bench.start(points.task(), compacts_all=True, path=_failing_target(bench))
    assert worker.wait() == ExitCode.COMPLETED, worker.log()
    points.keep(worker.answer)
    assert [disk.compaction for disk in worker.answer.disks] == [CompactionResult.FAILED] * 2
    assert not [name for name in bench.files() if name.endswith(".partial")]
    points.write(6, 4096, seed=2)
    assert [disk.compaction for disk in back_up(points).disks] == [CompactionResult.COMPACTED] * 2
    points.assert_all_read_back()


def _failing_target(bench: Bench) -> str:
    """Return a folder with a qemu-nbd that loses what is written into compacted layers."""
    script = bench.folder / "bin" / "qemu-nbd"
    script.parent.mkdir()
    script.write_text(
        '#!/bin/bash\n[[ "$*" == *.compact.partial* && "$*" != *" -r "* ]] && set -- --snapshot "$@"\n'
        'PATH="${PATH#*:}" exec qemu-nbd "$@"\n'
    )
    script.chmod(0o755)
    return str(script.parent)


def test_killed_at_each_step(points: Points, bench: Bench, vma: Vma) -> None:
    """Of both compactions, and the first one of the commit: nothing of that attempt is left, and the next succeeds."""
    points.write(4, 4096, seed=3)
    points.write(1, MIB, seed=4)
    for step in range(_COMPACTION_STEPS + 1):
        task = points.task(backup=f"crash-{step}")
        worker = bench.start(task, stop_at=step, compacts_all=True)
        assert worker.wait() == -signal.SIGKILL, worker.log()
        starts = vma.starts()
        answer = bench.run(task, compacts_all=True)
        assert answer.outcome == "Completed", answer.message
        assert {disk.compaction for disk in answer.disks} <= {CompactionResult.COMPACTED, CompactionResult.NOT_SMALLER}
        assert vma.starts() == starts + 1
        points.keep(answer)
        points.write(4, 4096, seed=step)
    points.assert_all_read_back()
    owned = {name for made, _ in points.made for name in (made.manifest, *manifest_of(bench, made).files())}
    assert bench.files() == owned
