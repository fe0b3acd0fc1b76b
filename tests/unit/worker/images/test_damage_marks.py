"""Marks that wait for the chain's lock."""

from __future__ import annotations

from pathlib import Path

from tests.support.chains import PATHS, fill, increment, point, uid_of, write_point

from sendense_operator.chain.parent_blocks import mark_damage
from sendense_operator.worker.images.damage_marks import DamageMarks
from sendense_operator.worker.images.unproven import Unproven
from sendense_operator.worker.storage.chain_folder import StoredPoint, read_chain, set_marks
from sendense_operator.worker.storage.chain_lock import ChainLock

FULL = point(1)
I2 = increment(2, FULL)
FOUND = Unproven("damaged", chunks=tuple(range(1000)))


def stored(root: Path) -> tuple[StoredPoint, ...]:
    return read_chain(root, PATHS).points


async def test_only_what_is_still_there_is_marked(tmp_path: Path) -> None:
    """The name of a deleted Backup may have been used again."""
    fill(tmp_path, FULL, I2)
    marks = DamageMarks(tmp_path, PATHS, uid_of(4711))
    for one in stored(tmp_path):
        marks.add(one, one.manifest.disks[0], FOUND)
    lock = ChainLock.try_acquire(tmp_path / PATHS.lock, tmp_path, "backup")
    assert lock is not None
    with lock:
        assert not await marks.write(wait=0)
        assert not any(one.unfit for one in stored(tmp_path))
    write_point(tmp_path, point(9, name="b2"))
    assert await marks.write(wait=0)
    assert [(one.manifest.backup.name, len(one.unfit)) for one in stored(tmp_path)] == [("b1", 1), ("b2", 0)]
    assert not (tmp_path / PATHS.backups / "b2.json.unfit").exists()
    assert await marks.write(wait=0), "nothing is left"


async def test_only_refuted_marks_are_removed(tmp_path: Path) -> None:
    write_point(tmp_path, FULL)
    (one,) = stored(tmp_path)
    old = mark_damage(FULL, FULL.disks[0], "old", FULL.finished)
    marks = DamageMarks(tmp_path, PATHS, uid_of(4711))
    marks.refute(one, (old,))
    newer = mark_damage(FULL, FULL.disks[0], "found meanwhile", FULL.finished)
    set_marks(tmp_path, one, (old, newer))
    assert await marks.write(wait=0)
    assert stored(tmp_path)[0].unfit == (newer,)
