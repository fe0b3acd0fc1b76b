from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from tests.support.chains import PATHS, SIZE, START, increment, layer, point

from sendense_operator.chain.manifest import Manifest, ManifestDisk
from sendense_operator.chain.parent_blocks import Unfit
from sendense_operator.chain.parent_choice import Choice, ParentLayer, choose_parent, plan_layers, read_through
from sendense_operator.task import FullReason, TaskDisk


@dataclass(frozen=True)
class Point:
    manifest: Manifest
    unfit: tuple[Unfit, ...] = ()


def disk(index: int = 0, key: int | None = None, virtual_size: int = SIZE) -> TaskDisk:
    return TaskDisk(
        index=index, key=2000 + index if key is None else key, virtual_size=virtual_size, port=10809 + index
    )


def marked(manifest: Manifest, reason: FullReason, index: int = 0) -> Point:
    return Point(manifest, (Unfit(index=index, reason=reason, message="noted", time=START),))


FULL = point(1)
I2 = increment(2, FULL)
I3 = increment(3, I2)
UNTRACKED = point(4, [layer(4).model_copy(update={"change_id": "*"})])
DAMAGED, REFUSED = FullReason.PARENT_UNVERIFIED, FullReason.CHANGE_ID_REFUSED


@pytest.mark.parametrize(
    ("name", "points", "tombstones", "wanted", "reason"),
    [
        ("none", [], [], disk(), FullReason.NO_PARENT),
        ("removed ones only", [], [Point(FULL)], disk(), FullReason.NO_PARENT),
        ("another key", [Point(FULL)], [], disk(key=2009), FullReason.NEW_DISK),
        ("grown", [Point(FULL)], [], disk(virtual_size=SIZE + 512), FullReason.DISK_RESIZED),
        ("refused", [marked(FULL, REFUSED)], [], disk(), REFUSED),
        ("refused below", [marked(FULL, REFUSED), Point(I2)], [], disk(), None),
        ("another disk damaged", [marked(FULL, DAMAGED, index=1)], [], disk(), None),
        ("no change id", [Point(UNTRACKED)], [], disk(), REFUSED),
        ("too many layers", [Point(FULL), Point(I2), Point(I3)], [], disk(), FullReason.CHAIN_TOO_LONG),
        ("as many as allowed", [Point(FULL), Point(I2)], [], disk(), None),
        ("a removed one below", [Point(I2)], [Point(FULL)], disk(), None),
        ("a lost one below", [Point(I2)], [], disk(), DAMAGED),
    ],
)
def test_choose_parent(
    name: str, points: Sequence[Point], tombstones: Sequence[Point], wanted: TaskDisk, reason: FullReason | None
) -> None:
    choice = choose_parent(wanted, points, tombstones, PATHS, max_depth=3)
    assert choice.reason is reason, name
    assert bool(choice.message) is (reason is not None)
    assert (choice.parent is None) is (reason is not None)
    if choice.parent is not None:
        newest = points[-1].manifest
        assert choice.parent.manifest == newest
        assert choice.parent.describe().change_id == newest.disks[0].change_id
        assert choice.parent.stack[-1].parent is None


@pytest.mark.parametrize(
    ("points", "is_doubted"),
    [
        ([marked(FULL, DAMAGED)], True),
        ([marked(FULL, DAMAGED), Point(I2)], True),
        ([marked(FULL, DAMAGED, index=1)], False),
        ([Point(FULL), Point(I2)], False),
        ([marked(FULL, DAMAGED), Point(point(4))], False),
    ],
)
def test_noted_damage_has_to_be_disproven(points: Sequence[Point], is_doubted: bool) -> None:
    """It is no verdict for good: a tool that could not run may have been taken for damage."""
    choice = choose_parent(disk(), points, [], PATHS, max_depth=3)
    assert choice.parent is not None
    assert bool(choice.doubt) is is_doubted


FULL_OF_TWO = point(6, [layer(6, 0), layer(6, 1)])
I7 = increment(7, FULL_OF_TWO)
I8 = point(8, [layer(8, 0, parent=(I7, 0)), layer(8, 1)])


@pytest.mark.parametrize(
    ("layer", "points", "removed", "expected"),
    [
        (FULL_OF_TWO.disks[0], (FULL_OF_TWO, I7, I8), (), [(6, 0), (7, 0), (8, 0)]),
        (FULL_OF_TWO.disks[1], (FULL_OF_TWO, I7, I8), (), [(6, 1), (7, 1)]),
        (I7.disks[0], (FULL_OF_TWO, I7, I8), (), [(7, 0), (8, 0)]),
        (FULL_OF_TWO.disks[0], (FULL, I2, I8), (FULL_OF_TWO, I7), [(8, 0)]),
        (I8.disks[1], (FULL_OF_TWO, I7, I8), (), [(8, 1)]),
    ],
)
def test_who_is_read_through_a_layer(
    layer: ManifestDisk, points: Sequence[Manifest], removed: Sequence[Manifest], expected: list[tuple[int, int]]
) -> None:
    found = read_through(layer.file, [Point(one) for one in points], [Point(one) for one in removed])
    assert [(point.manifest.sequence, disk.index) for point, disk in found] == expected


def test_layers_in_a_circle_are_read_through_no_other() -> None:
    own = layer(2, 0, parent=(FULL, 0))
    assert own.parent is not None
    circle = point(2, [own.model_copy(update={"parent": own.parent.model_copy(update={"file": own.file})})])
    assert list(read_through(FULL.disks[0].file, [Point(FULL), Point(circle)], [])) == [(Point(FULL), FULL.disks[0])]


def on(manifest: Manifest, index: int) -> Choice:
    below = manifest.disks[index]
    return Choice(ParentLayer(manifest, below, (below,)))


TWO = point(5, [layer(5, 0), layer(5, 1)])
NEW = Choice(None, FullReason.NEW_DISK, "new")


@pytest.mark.parametrize(
    ("name", "choices", "folders"),
    [
        ("as they were", [on(TWO, 0), on(TWO, 1)], [0, 1]),
        ("the first was removed, a new one came", [on(TWO, 1), NEW], [1, 0]),
        ("swapped", [on(TWO, 1), on(TWO, 0)], [1, 0]),
        ("all new", [NEW, NEW], [0, 1]),
        ("a new one before both", [NEW, on(TWO, 0), on(TWO, 1)], [2, 0, 1]),
    ],
)
def test_no_two_layers_share_a_folder(name: str, choices: list[Choice], folders: list[int]) -> None:
    plans = plan_layers([disk(index) for index in range(len(choices))], choices, PATHS)
    assert [plan.folder for plan in plans] == [PATHS.disk(index) for index in folders], name
    assert [plan.backing is None for plan in plans] == [choice.parent is None for choice in choices]
    assert [plan.reason for plan in plans] == [choice.reason for choice in choices]
