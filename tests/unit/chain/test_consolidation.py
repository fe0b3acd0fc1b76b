"""Which layers are merged, and which are left alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.chains import PATHS, SIZE, head, increment, layer, point, uid_of

from sendense_operator.chain import layout
from sendense_operator.chain.consolidation import (
    ChainState,
    ConsolidationPlan,
    Limits,
    MergeRun,
    find_runs,
    plan_consolidation,
    replace_disk,
    with_depths,
    without,
)
from sendense_operator.chain.digests import DIGEST_SIZE
from sendense_operator.chain.disk_file import DiskFile
from sendense_operator.chain.extents import LayerMap, chunk_count
from sendense_operator.chain.freeable_layers import Pins
from sendense_operator.chain.immutability import ImmutabilityRule
from sendense_operator.chain.manifest import Manifest, ManifestDisk
from sendense_operator.chain.parent_blocks import Unfit, mark_damage
from sendense_operator.consolidation_task import ConsolidationObstacle
from sendense_operator.task import BackupType

NOW = datetime(2025, 10, 6, tzinfo=UTC)
OPEN = Limits(target_depth=8)
ALL = Limits(target_depth=8, everything=True)


@dataclass(frozen=True)
class Stored:
    manifest: Manifest
    unfit: tuple[Unfit, ...] = ()


def sized(manifest: Manifest, stored: int) -> Manifest:
    return manifest.model_copy(
        update={"disks": tuple(disk.model_copy(update={"stored_bytes": stored}) for disk in manifest.disks)}
    )


def chain_of(*sizes: int, disks: int = 1) -> list[Manifest]:
    """A full and increments of these sizes, oldest first."""
    made = [sized(point(1, [layer(1, index) for index in range(disks)]), sizes[0])]
    for number, size in enumerate(sizes[1:], start=2):
        made.append(sized(increment(number, made[-1]), size))
    return made


def on_disk(manifests: Iterable[Manifest]) -> dict[str, DiskFile]:
    found = dict[str, DiskFile]()
    for manifest in manifests:
        for disk in manifest.disks:
            backing = PurePosixPath(disk.parent.file).name if disk.parent else None
            found[disk.file] = DiskFile.of(head(disk.virtual_size, backing), 1 << 20, disk.stored_bytes)
            found[disk.digest.list] = DiskFile(length=DIGEST_SIZE * chunk_count(disk.virtual_size, disk.digest.chunk))
    return found


def state(
    manifests: Sequence[Manifest],
    removed: Iterable[int] = (),
    marks: dict[int, tuple[Unfit, ...]] | None = None,
    orphans: dict[str, DiskFile] | None = None,
    *,
    is_understood: bool = True,
) -> ChainState[Stored]:
    """The chain of `manifests`, of which those at the positions `removed` are tombstones."""
    gone = set(removed)
    stored = [Stored(manifest, (marks or {}).get(at, ())) for at, manifest in enumerate(manifests)]
    points = [one for at, one in enumerate(stored) if at not in gone]
    tombstones = [one for at, one in enumerate(stored) if at in gone]
    files = on_disk(manifests) | (orphans or {})
    return ChainState(PATHS, points, tombstones, files, is_understood)


def plan(chain: ChainState[Stored], limits: Limits = OPEN, pins: Pins | None = None) -> ConsolidationPlan[Stored]:
    return plan_consolidation(chain, pins or Pins(), limits)


def shown(runs: Iterable[MergeRun[Stored]]) -> list[tuple[str, int, int]]:
    return [(run.point.manifest.backup.name, run.disk.index, run.removed) for run in runs]


@pytest.mark.parametrize(
    ("removed", "runs"),
    [
        ([], []),
        ([0], [("b2", 0, 1)]),
        ([0, 1], [("b3", 0, 2)]),
        ([1], [("b3", 0, 1)]),
        ([1, 2], [("b4", 0, 2)]),
        ([0, 2], [("b2", 0, 1), ("b4", 0, 1)]),
        ([3], []),  # nothing depends on it: it is freed
    ],
)
def test_runs(removed: list[int], runs: list[tuple[str, int, int]]) -> None:
    chain = state(chain_of(10, 10, 10, 10), removed)
    assert sorted(shown(find_runs(chain))) == runs
    assert sorted(shown(plan(chain, ALL).runs)) == runs


def test_each_disk_has_its_own_run() -> None:
    assert shown(find_runs(state(chain_of(10, 10, 10, disks=2), [1]))) == [("b3", 0, 1), ("b3", 1, 1)]


def test_a_layer_on_which_two_depend_stays() -> None:
    full, second, third = chain_of(10, 10, 10)
    branch = increment(4, second)
    chain = state([full, second, third, branch], [1])
    assert shown(find_runs(chain)) == []
    assert shown(find_runs(state([full, second, third, branch], [0, 1]))) == []


def test_what_depends_by_its_header_only_counts() -> None:
    full, second = chain_of(10, 10)
    name = str(PurePosixPath(full.disks[0].file).with_name("incr-20251005-130000.qcow2"))
    orphan = DiskFile.of(head(SIZE, PurePosixPath(full.disks[0].file).name), 1 << 20, 4096)
    chain = state([full, second], [0], orphans={name: orphan})
    assert shown(find_runs(chain)) == []
    # Another orphan, on which nothing depends, keeps the whole chain from being merged.
    other = state([full, second], [0], orphans={name: DiskFile.of(head(SIZE), 1 << 20, 4096)})
    found = plan(other, ALL)
    assert (found.runs, found.left) == ((), ConsolidationObstacle.ORPHANS)
    assert name in found.message


def test_files_of_a_file_server_are_no_orphans() -> None:
    full, second = chain_of(10, 10)
    name = str(PurePosixPath(full.disks[0].file).with_name(".nfs0001"))
    assert plan(state([full, second], [0], orphans={name: DiskFile(flaw="no image")}), ALL).runs


@pytest.mark.parametrize(
    ("sizes", "removed", "depth", "is_merged"),
    [
        ((100, 24, 1), [0], 8, False),  # copying the full would free too little
        ((100, 25, 1), [0], 8, True),
        ((100, 12, 13, 1), [0, 1], 8, True),
        ((100, 1, 1), [0], 3, False),
        ((100, 1, 1), [0], 2, True),  # deeper than wanted
        ((100, 1, 1), [1], 8, True),  # increments are cheap
    ],
)
def test_a_full_is_copied_for_a_gain_or_for_the_depth(
    sizes: tuple[int, ...], removed: list[int], depth: int, is_merged: bool
) -> None:
    found = plan(state(chain_of(*sizes), removed), Limits(target_depth=depth))
    assert bool(found.runs) is is_merged
    assert found.left is None
    assert plan(state(chain_of(*sizes), removed), Limits(target_depth=depth, everything=True)).runs


@pytest.mark.parametrize(
    ("sizes", "removed", "depth", "runs"),
    [
        ((100, 1, 1, 1, 1), [0, 1, 2], 4, [("b4", 0, 2)]),  # two increments and the restore point's own
        ((100, 1, 1, 1, 1), [0, 1, 2], 3, [("b4", 0, 2)]),
        ((100, 1, 1, 1, 1), [0, 1, 2], 2, [("b4", 0, 3)]),
        ((100, 1, 1, 1, 1), [0], 4, [("b2", 0, 1)]),  # there is no increment to merge
        ((100, 20, 10, 1, 1), [0, 1], 4, [("b3", 0, 2)]),  # it frees enough
    ],
)
def test_the_full_is_spared_where_increments_are_enough(
    sizes: tuple[int, ...], removed: list[int], depth: int, runs: list[tuple[str, int, int]]
) -> None:
    assert shown(plan(state(chain_of(*sizes), removed), Limits(target_depth=depth)).runs) == runs


def test_the_cheapest_first() -> None:
    chain = state(chain_of(100, 90, 30, 20, 10, 1), [0, 3])
    assert shown(plan(chain).runs) == [("b5", 0, 1), ("b2", 0, 1)]


def test_nothing_is_merged_while_a_manifest_cannot_be_read() -> None:
    found = plan(state(chain_of(1, 1), [0], is_understood=False), ALL)
    assert (found.runs, found.left) == ((), ConsolidationObstacle.MANIFESTS_UNREADABLE)


def test_nothing_is_merged_in_a_chain_with_damage() -> None:
    manifests = chain_of(1, 1, 1, 1)
    mark = mark_damage(manifests[3], manifests[3].disks[0], "flipped", NOW)
    found = plan(state(manifests, [0], marks={3: (mark,)}), ALL)
    assert (found.runs, found.left) == ((), ConsolidationObstacle.DAMAGED)
    assert "b4" in found.message
    assert "flipped" in found.message
    missing = state(manifests, [0])
    files = {name: file for name, file in missing.files.items() if name != manifests[3].disks[0].file}
    lost = ChainState(PATHS, missing.points, missing.tombstones, files)
    assert plan(lost, ALL).left is ConsolidationObstacle.DAMAGED


def test_a_reader_of_another_pod_is_waited_for() -> None:
    chain = state(chain_of(1, 1), [0])
    limits = Limits(target_depth=8, everything=True, own_pod=uid_of(1))
    assert plan(chain, limits, Pins(readers=frozenset({uid_of(1)}))).runs
    found = plan(chain, limits, Pins(readers=frozenset({uid_of(1), uid_of(2)})))
    assert (found.runs, found.left) == ((), ConsolidationObstacle.LAYER_PINNED)
    assert uid_of(2) in found.message


@pytest.mark.parametrize(
    ("immutable", "merged"), [(2, [("b4", 0, 1)]), (4, []), (5, []), (None, [("b2", 0, 1), ("b4", 0, 1)])]
)
def test_what_an_immutable_restore_point_is_read_through_stays(
    immutable: int | None, merged: list[tuple[str, int, int]]
) -> None:
    manifests = chain_of(1, 1, 1, 1, 1)
    if immutable is not None:
        kept = manifests[immutable - 1]
        manifests[immutable - 1] = kept.model_copy(update={"retain_until": NOW + timedelta(days=1)})
    chain = state(manifests, [0, 2])
    found = plan(chain, Limits(target_depth=8, everything=True, rule=ImmutabilityRule(now=NOW)))
    assert sorted(shown(found.runs)) == merged
    assert found.left is (None if immutable is None else ConsolidationObstacle.RETAINED)
    assert found.message.startswith("" if immutable is None else f"restore point b{immutable} is immutable")
    later = Limits(target_depth=8, everything=True, rule=ImmutabilityRule(now=NOW + timedelta(days=1)))
    assert len(plan(chain, later).runs) == 2


def test_what_is_left_of_a_plan_without_some_layers() -> None:
    found = plan(state(chain_of(1, 1, 1, 1), [0, 2]), ALL)
    first, second = found.runs
    assert without(found, frozenset({first.disk.file})).runs == (second,)


def test_the_entry_of_a_merged_layer() -> None:
    full, second, third, fourth = chain_of(100, 20, 30, 40)
    extents = LayerMap(SIZE, 4 << 20)
    extents.coverage, extents.guest_bytes = 700, 600
    (run,) = find_runs(state([full, second, third, fourth], [1, 2]))
    entry = run.merged(extents, 80)
    old = fourth.disks[0]
    assert (entry.type, entry.parent, entry.depth) == (BackupType.INCREMENTAL, second.disks[0].parent, 2)
    assert (entry.stored_bytes, entry.guest_bytes, entry.coverage, entry.merged) == (80, 600, 700, 2)
    same = ("index", "key", "file", "virtual_size", "change_id", "digest", "received_bytes", "label")
    assert [getattr(entry, name) for name in same] == [getattr(old, name) for name in same]
    (run,) = find_runs(state([full, second, third, fourth], [0, 1, 2]))
    assert run.becomes_full
    entry = run.merged(extents, 80)
    assert (entry.type, entry.parent, entry.depth, entry.merged) == (BackupType.FULL, None, 1, 3)
    assert Manifest.from_json(fourth.model_copy(update={"disks": (entry,)}).to_json()).disks == (entry,)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 9), st.data())
def test_merging_ends_and_leaves_only_what_is_needed(length: int, data: st.DataObject) -> None:
    """Merged one after the other, as in a consolidation, no removed layer is left below a restore point."""
    manifests = chain_of(*([10] * length), disks=2)
    removed = data.draw(st.sets(st.integers(0, length - 2)))
    points = [Stored(manifest) for at, manifest in enumerate(manifests) if at not in removed]
    tombstones = [Stored(manifest) for at, manifest in enumerate(manifests) if at in removed]
    files = on_disk(manifests)
    for _ in range(2 * length):
        chain = ChainState(PATHS, points, tombstones, files)
        runs = plan(chain, ALL).runs
        if not runs:
            break
        entry = runs[0].merged(LayerMap(SIZE, 4 << 20), 10)
        for removed_layer in runs[0].inputs[1:]:
            del files[removed_layer]
        files |= on_disk([runs[0].point.manifest.model_copy(update={"disks": (entry,)})])
        points = [exchange(one, entry) for one in points]
        wrong = {
            one.manifest.backup.uid: disks for one, disks in with_depths(ChainState(PATHS, points, tombstones, files))
        }
        points = [
            Stored(one.manifest.model_copy(update={"disks": wrong.get(one.manifest.backup.uid, one.manifest.disks)}))
            for one in points
        ]
    assert list(find_runs(ChainState(PATHS, points, tombstones, files))) == []
    assert [disk.depth for one in points for disk in one.manifest.disks] == [
        depth for depth in range(1, len(points) + 1) for _ in range(2)
    ]


def exchange(one: Stored, entry: ManifestDisk) -> Stored:
    if entry.file not in [disk.file for disk in one.manifest.disks]:
        return one
    return Stored(one.manifest.model_copy(update={"disks": replace_disk(one.manifest.disks, entry)}))


def test_the_name_of_a_merged_layer() -> None:
    path = PurePosixPath("shop/db/disk-0/incr-20251005-120001.qcow2")
    partial = layout.partial(layout.merged_of(path))
    assert partial.name == "incr-20251005-120001.qcow2.merged.partial"
    assert layout.is_partial(partial.name)
    assert layout.is_merged_partial(partial.name)
    assert not layout.is_merged_partial(layout.partial(path).name)
    assert not layout.is_merged_partial(layout.merged_of(path).name)
