"""The switch to a merged layer, cut short at each step, and finished or dropped by whoever comes next."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

import pytest
from tests.support.chains import PATHS, SIZE, files, fill, head, increment, layer, point, uid_of
from tests.support.interruptions import CutShort, cut_at
from tests.unit.worker.storage.test_durability import Watch, watch

from sendense_operator.chain.consolidation import Limits, MergeRun, find_runs, plan_consolidation
from sendense_operator.chain.damage import Judge
from sendense_operator.chain.extents import LayerMap
from sendense_operator.chain.freeable_layers import NO_PINS
from sendense_operator.chain.manifest import Manifest, ManifestDisk
from sendense_operator.chain.qcow2 import backing_name
from sendense_operator.task import Removal
from sendense_operator.worker.storage import merge_journal, recovery
from sendense_operator.worker.storage.chain_folder import StoredPoint, read_chain
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.merge_journal import JournalError, MergeJournal
from sendense_operator.worker.storage.merge_switch import chain_state, drop_merge, finish_merge, switch
from sendense_operator.worker.storage.tombstones import entomb, free_layers

FULL = point(1, [layer(1, 0), layer(1, 1)])
I2 = increment(2, FULL)
I3 = increment(3, I2)
I4 = increment(4, I3)
CHAIN = (FULL, I2, I3, I4)
__all__ = ["watch"]
_STEPS = 7
"""More than a switch has."""


def removal(manifest: Manifest) -> Removal:
    return Removal(vm="db", backup=manifest.backup.name, backup_uid=manifest.backup.uid)


def planned(root: Path, disk: int = 0) -> MergeRun[StoredPoint]:
    runs = find_runs(chain_state(root, read_chain(root, PATHS)))
    return next(run for run in runs if run.disk.index == disk)


def begin(root: Path, run: MergeRun[StoredPoint]) -> tuple[MergeJournal, ManifestDisk]:
    """Write the merged layer as a merge does that is about to switch."""
    journal = MergeJournal(
        pod_uid=uid_of(9),
        backup_uid=run.point.manifest.backup.uid,
        inputs=run.inputs,
        root=run.disk.digest.root,
    )
    merge_journal.write_journal(root, PATHS, journal)
    entry = run.merged(LayerMap(SIZE, 4 << 20), 4096)
    backing = PurePosixPath(entry.parent.file).name if entry.parent else None
    (root / journal.merged).write_bytes(head(SIZE, backing))
    return journal, entry


def removed(tmp_path: Path, *numbers: int) -> Path:
    root = fill(tmp_path, *CHAIN)
    for number in numbers:
        entomb(root, PATHS, removal(CHAIN[number - 1]))
    return root


def assert_consistent(root: Path) -> None:
    """Headers and manifests say the same, and each depth is right."""
    chain = read_chain(root, PATHS)
    assert chain.is_understood
    state = chain_state(root, chain)
    judge = Judge([(one.manifest, ()) for one in chain.points], [one.manifest for one in chain.tombstones], state.files)
    assert [judge.judge(one.manifest).damage for one in chain.points] == [""] * len(chain.points)
    assert [disk.depth for _, disk, _ in state.stacks] == [len(stack) for _, _, stack in state.stacks]


def backing(root: Path, manifest: Manifest, disk: int = 0) -> str | None:
    return backing_name((root / manifest.disks[disk].file).read_bytes())


def test_a_merged_layer_takes_its_place(tmp_path: Path) -> None:
    root = removed(tmp_path, 2)
    run = planned(root)
    switch(root, PATHS, *begin(root, run))
    assert_consistent(root)
    assert backing(root, I3) == PurePosixPath(FULL.disks[0].file).name
    assert not merge_journal.is_switching(root, PATHS)
    assert not (root / merge_journal.journal_of(PATHS)).exists()
    # The other disk still needs the tombstone: it keeps its layer, and only that one.
    free_layers(root, read_chain(root, PATHS))
    assert not (root / I2.disks[0].file).exists()
    assert (root / I2.disks[1].file).exists()
    switch(root, PATHS, *begin(root, planned(root, 1)))
    free_layers(root, read_chain(root, PATHS))
    assert_consistent(root)
    chain = read_chain(root, PATHS)
    assert [one.manifest.backup.name for one in chain.points] == ["b1", "b3", "b4"]
    assert chain.tombstones == ()
    assert [[disk.depth for disk in one.manifest.disks] for one in chain.points] == [[1, 1], [2, 2], [3, 3]]


def test_a_full_grows_forward(tmp_path: Path) -> None:
    root = removed(tmp_path, 1, 2)
    for disk in (0, 1):
        run = planned(root, disk)
        assert run.becomes_full
        switch(root, PATHS, *begin(root, run))
    free_layers(root, read_chain(root, PATHS))
    assert_consistent(root)
    chain = read_chain(root, PATHS)
    assert chain.tombstones == ()
    assert [disk.parent for disk in chain.points[0].manifest.disks] == [None, None]
    assert {str(PurePosixPath(name).name) for name in files(root) if name.endswith(".qcow2")} == {
        PurePosixPath(one.disks[0].file).name for one in (I3, I4)
    }


@pytest.mark.parametrize("number", range(_STEPS))
def test_a_switch_is_cut_short(tmp_path: Path, number: int) -> None:
    """Whoever holds the lock next finds the old state or finishes the new one; each is whole."""
    root = removed(tmp_path, 2)
    run = planned(root)
    before = files(root)
    started = begin(root, run)
    try:
        switch(root, PATHS, *started, cut_at(number))
    except CutShort:
        is_over = False
    else:
        is_over = True
    assert is_over == (number >= 6)
    recovery.settle(root, PATHS, None)
    recovery.sweep(root, PATHS)
    assert_consistent(root)
    assert not merge_journal.is_switching(root, PATHS)
    is_merged = backing(root, I3) == PurePosixPath(FULL.disks[0].file).name
    assert is_merged == (number >= 2)
    if not is_merged:
        assert files(root) == before
    free_layers(root, read_chain(root, PATHS))
    assert (root / I2.disks[0].file).exists() != is_merged


@pytest.mark.parametrize("first", range(2, 6))
@pytest.mark.parametrize("second", range(6))
def test_finishing_is_cut_short_too(tmp_path: Path, first: int, second: int) -> None:
    root = removed(tmp_path, 2)
    with pytest.raises(CutShort):
        switch(root, PATHS, *begin(root, planned(root)), cut_at(first))
    try:
        finish_merge(root, PATHS, cut_at(second))
    except CutShort:
        assert merge_journal.is_switching(root, PATHS)
    assert finish_merge(root, PATHS) or not merge_journal.is_switching(root, PATHS)
    assert_consistent(root)
    assert backing(root, I3) == PurePosixPath(FULL.disks[0].file).name


@pytest.mark.parametrize("victim", [1, 3, 4])
@pytest.mark.parametrize("number", range(_STEPS))
def test_a_restore_point_is_removed_during_the_switch(tmp_path: Path, number: int, victim: int) -> None:
    """A removal needs no lock. It stays removed, and its layers are freed once nothing needs them."""
    root = removed(tmp_path, 2)

    def step(name: str, at: list[int] = [0]) -> None:  # noqa: B006 - counts the steps
        if at[0] == number:
            entomb(root, PATHS, removal(CHAIN[victim - 1]))
        at[0] += 1

    switch(root, PATHS, *begin(root, planned(root)), step)
    if number >= _STEPS - 1:
        entomb(root, PATHS, removal(CHAIN[victim - 1]))
    names = [one.manifest.backup.name for one in read_chain(root, PATHS).points]
    assert names == [f"b{at}" for at in (1, 3, 4) if at != victim]
    assert not [name for name in files(root) if name == f"shop/db/backups/b{victim}.json"]
    assert_consistent(root)
    free_layers(root, read_chain(root, PATHS))
    assert_consistent(root)
    for at in (1, 3, 4):
        if at != victim:
            entomb(root, PATHS, removal(CHAIN[at - 1]))
    free_layers(root, read_chain(root, PATHS))
    assert files(root) == set()


def test_a_merge_that_has_not_begun_to_switch_is_dropped(tmp_path: Path) -> None:
    root = removed(tmp_path, 2)
    before = files(root)
    begin(root, planned(root))
    assert not finish_merge(root, PATHS)
    assert not merge_journal.is_switching(root, PATHS)
    drop_merge(root, PATHS)
    assert files(root) == before


def test_a_sweep_leaves_alone_what_a_pod_merges(tmp_path: Path) -> None:
    root = removed(tmp_path, 2)
    before = files(root)
    journal, _ = begin(root, planned(root))
    merging = ChainLock.try_acquire(root / merge_journal.merge_lock_of(PATHS), root, uid_of(9))
    assert merging is not None
    with merging:
        recovery.settle(root, PATHS, None)
        assert recovery.sweep(root, PATHS) == 0
        assert (root / journal.merged).exists()
        assert (root / merge_journal.journal_of(PATHS)).exists()
    assert recovery.sweep(root, PATHS) == 0  # it is dropped by its journal
    assert files(root) == before
    (root / journal.merged).write_bytes(b"left without a journal")
    assert recovery.sweep(root, PATHS) == 1
    assert files(root) == before


def test_nothing_is_dropped_of_a_merge_that_has_taken_its_place(tmp_path: Path) -> None:
    root = removed(tmp_path, 2)
    with pytest.raises(CutShort):
        switch(root, PATHS, *begin(root, planned(root)), cut_at(3))
    drop_merge(root, PATHS)
    assert merge_journal.is_switching(root, PATHS)
    recovery.sweep(root, PATHS)
    assert finish_merge(root, PATHS)
    assert_consistent(root)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"podUid": "x"}', b"\xff" * 9, b"x" * (2 << 20)],
    ids=["empty", "cut", "list", "nothing", "fields", "bytes", "large"],
)
def test_a_journal_that_cannot_be_read_stops_merging_only(tmp_path: Path, content: bytes) -> None:
    root = removed(tmp_path, 2)
    (root / PATHS.consolidation).mkdir()
    (root / merge_journal.journal_of(PATHS)).write_bytes(content)
    with pytest.raises(JournalError):
        merge_journal.read_journal(root, PATHS)
    assert merge_journal.is_switching(root, PATHS)
    recovery.settle(root, PATHS, None)
    recovery.sweep(root, PATHS)
    assert (root / merge_journal.journal_of(PATHS)).read_bytes() == content


def test_a_journal_about_another_chain_is_refused(tmp_path: Path) -> None:
    root = removed(tmp_path, 2)
    run = planned(root)
    moved = tuple(name.replace("shop/db/", "shop/web/") for name in run.inputs)
    journal = MergeJournal(pod_uid=uid_of(9), backup_uid=uid_of(3), inputs=moved, root="0" * 64)
    merge_journal.write_journal(root, PATHS, journal)
    with pytest.raises(JournalError, match="another chain"):
        merge_journal.read_journal(root, PATHS)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "shop/db/disk-0/x", "shop/db/disk-0/full-20251005-120001.raw"])
def test_a_journal_names_layers_only(path: str) -> None:
    with pytest.raises(ValueError, match="not the path of a layer"):
        MergeJournal(pod_uid="p", backup_uid="b", inputs=(path, path), root="0" * 64)


def test_a_power_cut_before_the_rename_was_durable(tmp_path: Path) -> None:
    """The rename is undone, but the journal and the proven layer are there: the old state counts."""
    root = removed(tmp_path, 2)
    copy = tmp_path.parent / "before"
    started = begin(root, planned(root))
    with pytest.raises(CutShort):
        switch(root, PATHS, *started, cut_at(1))
    shutil.copytree(root, copy)
    assert finish_merge(copy, PATHS)
    assert_consistent(copy)
    assert backing(copy, I3) == PurePosixPath(I2.disks[0].file).name


def test_the_plan_after_a_switch_is_empty(tmp_path: Path) -> None:
    root = removed(tmp_path, 2)
    for disk in (0, 1):
        switch(root, PATHS, *begin(root, planned(root, disk)))
    free_layers(root, read_chain(root, PATHS))
    limits = Limits(target_depth=2, everything=True)
    state = chain_state(root, read_chain(root, PATHS))
    assert plan_consolidation(state, NO_PINS, limits).runs == ()


def test_what_a_switch_flushes(tmp_path: Path, watch: Watch) -> None:
    """The journal before the rename, the rename before the manifests, and all of it before the journal goes."""
    root = removed(tmp_path, 2)
    journal, entry = begin(root, planned(root))
    found = watch()
    switch(root, PATHS, journal, entry)
    notes = merge_journal.journal_of(PATHS)
    assert found == [
        *replaced(str(notes)),
        f"rename {journal.merged} -> {journal.layer}",
        f"fsync {journal.layer.parent}",
        *replaced(f"{PATHS.backups}/b3.json"),
        *replaced(f"{PATHS.backups}/b4.json"),
        f"unlink {notes}",
        f"fsync {PATHS.consolidation}",
    ]


def test_what_finishing_and_dropping_flush(tmp_path: Path, watch: Watch) -> None:
    root = removed(tmp_path, 2)
    started = begin(root, planned(root))
    copy = shutil.copytree(root, tmp_path / "copy")
    notes = merge_journal.journal_of(PATHS)
    with pytest.raises(CutShort):
        switch(root, PATHS, *started, cut_at(2))
    found = watch()
    assert finish_merge(root, PATHS)
    assert found[0] == f"fsync {started[0].layer.parent}"
    assert found[-2:] == [f"unlink {notes}", f"fsync {PATHS.consolidation}"]
    with pytest.raises(CutShort):
        switch(copy, PATHS, *started, cut_at(1))
    found.clear()
    assert finish_merge(copy, PATHS)
    assert found == [
        f"unlink copy/{started[0].merged}",
        f"fsync copy/{started[0].layer.parent}",
        f"unlink copy/{notes}",
        f"fsync copy/{PATHS.consolidation}",
    ]


def replaced(name: str) -> list[str]:
    """Return what an atomic and durable replacement of a file does."""
    return [f"fsync {name}.partial", f"rename {name}.partial -> {name}", f"fsync {PurePosixPath(name).parent}"]
