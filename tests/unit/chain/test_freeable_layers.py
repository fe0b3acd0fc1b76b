from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.chains import PATHS, SIZE, increment, layer, point

from sendense_operator.chain.disk_file import DiskFile
from sendense_operator.chain.freeable_layers import FreePlan, plan_freeing
from sendense_operator.chain.manifest import Manifest, ManifestDisk

FULL = point(1)
I2 = increment(2, FULL)
I3 = increment(3, I2)
FULL4 = point(4)
I5 = increment(5, FULL4)
TWO = point(6, [layer(6, 0), layer(6, 1)])
TOP_OF_ONE = point(7, [layer(7, 0, parent=(TWO, 0)), layer(7, 1)])
ELSEWHERE = point(8, [layer(8).model_copy(update={"file": "other/db/disk-0/full-20251005-120008.qcow2"})])


def file_of(manifest: Manifest, index: int = 0) -> str:
    return manifest.disks[index].file


def backing_of(disk: ManifestDisk) -> str | None:
    return PurePosixPath(disk.parent.file).name if disk.parent else None


def on_disk(*manifests: Manifest, **orphans: str | None) -> dict[str, DiskFile]:
    found = {disk.file: DiskFile(backing=backing_of(disk)) for manifest in manifests for disk in manifest.disks}
    return found | {f"shop/db/disk-0/{name}": DiskFile(backing=backing) for name, backing in orphans.items()}


def plan(
    points: Sequence[Manifest], tombstones: Sequence[Manifest], images: Mapping[str, DiskFile] | None = None
) -> FreePlan:
    images = on_disk(*points, *tombstones) if images is None else images
    return plan_freeing(PATHS.folder, points, tombstones, images)


@pytest.mark.parametrize(
    ("points", "tombstones", "order", "needed_by"),
    [
        ([FULL, I2], [], [], []),
        ([], [FULL], [FULL], [""]),
        ([], [FULL, I2, I3], [I3, I2, FULL], ["", "", ""]),
        ([FULL, I2], [I3], [I3], [""]),
        ([FULL, I3], [I2], [], ["b3"]),
        ([I3], [FULL, I2], [], ["b3", "b3"]),
        ([I2, I3], [FULL], [], ["b2"]),
        ([I2], [FULL, I3], [I3], ["b2", ""]),
        ([I5], [FULL, I2, FULL4], [I2, FULL], ["", "", "b5"]),
        # the same restore point seen in both places
        ([FULL], [FULL], [], ["b1"]),
    ],
)
def test_what_may_go(
    points: list[Manifest], tombstones: list[Manifest], order: list[Manifest], needed_by: list[str]
) -> None:
    found = plan(points, tombstones)
    assert list(found.order) == [file_of(item) for item in order]
    assert [fate.needed_by for fate in found.fates] == needed_by
    assert [fate.is_done for fate in found.fates] == [not name for name in needed_by]


def test_each_disk_for_itself() -> None:
    found = plan([TOP_OF_ONE], [TWO])
    assert found.order == (file_of(TWO, 1),)
    (fate,) = found.fates
    assert (fate.free, fate.kept, fate.needed_by) == ((file_of(TWO, 1),), (file_of(TWO, 0),), "b7")


def test_a_file_elsewhere_is_never_touched() -> None:
    found = plan([], [ELSEWHERE], {})
    assert found.order == ()
    assert found.fates[0].is_done


@pytest.mark.parametrize(
    ("orphan", "stays"),
    [
        (None, False),
        ("full-20251005-120001.qcow2", True),
        ("full-20251005-120009.qcow2", False),
        ("./full-20251005-120001.qcow2", True),
        ("/repository/shop/db/disk-0/full-20251005-120001.qcow2", True),
        ('json:{"file": {"filename": "full-20251005-120001.qcow2"}}', True),
        ("../disk-0/full-20251005-120001.qcow2", True),
        ("nbd://host/x", False),
        ("", False),
        ("..", False),
    ],
)
@pytest.mark.parametrize("name", ["mine.qcow2", "incr-20251005-120002.qcow2.partial", "x"])
def test_what_an_orphan_depends_on_stays(name: str, orphan: str | None, stays: bool) -> None:
    found = plan([], [FULL], on_disk(FULL, **{name: orphan}))
    assert bool(found.order) is not stays
    assert found.fates[0].needed_by == ""


def test_below_what_an_orphan_depends_on() -> None:
    found = plan([], [FULL, I2, I3], on_disk(FULL, I2, I3, x=PurePosixPath(file_of(I2)).name))
    assert found.order == (file_of(I3),)


@pytest.mark.parametrize("folder", [0, 1])
def test_an_orphan_that_hides_its_backing_name(folder: int) -> None:
    images = on_disk(FULL) | {f"shop/db/disk-{folder}/x": DiskFile(is_opaque=True)}
    assert bool(plan([], [FULL], images).order) is (folder == 1)


def test_a_hidden_name_in_a_layer_of_ours_is_known_by_its_manifest() -> None:
    images = on_disk(FULL, I2, FULL4) | {file_of(FULL4): DiskFile(is_opaque=True)}
    assert plan([FULL4], [FULL, I2], images).order == (file_of(I2), file_of(FULL))
    images = on_disk(FULL, I2) | {file_of(I2): DiskFile(is_opaque=True)}
    assert plan([I2], [FULL], images).order == ()
    assert plan([], [FULL, I2], images).order == (file_of(I2), file_of(FULL))


def test_a_header_counts_where_the_manifest_says_less() -> None:
    liar = point(9, [layer(9)])
    images = on_disk(FULL) | {file_of(liar): DiskFile(backing=PurePosixPath(file_of(FULL)).name)}
    assert plan([liar], [FULL], images).fates[0].needed_by == "b9"


def test_a_circle_of_backing_names_ends() -> None:
    images = {
        file_of(FULL): DiskFile(backing=PurePosixPath(file_of(I2)).name),
        file_of(I2): DiskFile(backing=PurePosixPath(file_of(FULL)).name),
    }
    assert set(plan([], [FULL, I2], images).order) == {file_of(FULL), file_of(I2)}
    assert plan([I2], [FULL], images).order == ()


class Model:
    """A chain in memory: what may be done to it, and what must hold whatever is done."""

    def __init__(self) -> None:
        self.number = 0
        self.keys = [0]
        self.sizes = {0: SIZE}
        self.points: list[Manifest] = []
        self.tombstones: list[Manifest] = []
        self.files: dict[str, DiskFile] = {}
        self.orphans: set[str] = set()

    def backup(self, wish: int) -> None:
        """A bit of `wish` for each disk: whether it should be an increment."""
        self.number += 1
        parent = self.points[-1] if self.points else None
        places = {disk.key: at for at, disk in enumerate(parent.disks)} if parent else {}
        disks = []
        for index, key in enumerate(self.keys):
            at = places.get(key)
            fits = parent is not None and at is not None and parent.disks[at].virtual_size == self.sizes[key]
            depends_on = (parent, at) if parent is not None and at is not None and fits and wish >> index & 1 else None
            disks.append(layer(self.number, index, key=key, parent=depends_on, virtual_size=self.sizes[key]))
        # two layers of one point never share a name and a folder: the second takes another folder
        if len({disk.file for disk in disks}) < len(disks):
            return
        self.points.append(point(self.number, disks))
        self.files |= {disk.file: DiskFile(backing=backing_of(disk)) for disk in disks}

    def resize(self, which: int) -> None:
        key = self.keys[which % len(self.keys)]
        self.sizes[key] += 512

    def add_disk(self, _: int) -> None:
        key = max(self.sizes) + 1
        self.keys.append(key)
        self.sizes[key] = SIZE

    def remove_disk(self, which: int) -> None:
        if len(self.keys) > 1:
            self.keys.pop(which % len(self.keys))

    def delete(self, which: int) -> None:
        if self.points:
            self.tombstones.append(self.points.pop(which % len(self.points)))
            self.tombstones.sort(key=lambda manifest: manifest.sequence)

    def orphan(self, which: int) -> None:
        self.number += 1
        layers = [disk.file for manifest in self.points + self.tombstones for disk in manifest.disks]
        path = f"shop/db/disk-0/orphan-{self.number}"
        self.orphans.add(path)
        self.files[path] = DiskFile(backing=PurePosixPath(layers[which % len(layers)]).name if layers else None)

    def forget_orphan(self, _: int) -> None:
        if self.orphans:
            self.files.pop(self.orphans.pop())

    def free(self, steps: int) -> None:
        """Cut short after some steps, or run to the end from 8 on."""
        found = plan(self.points, self.tombstones, self.files)
        named = {disk.file for manifest in self.tombstones for disk in manifest.disks}
        for file in found.order[: steps if steps < 8 else None]:
            assert file in named
            self.files.pop(file, None)
            self.check_backings()
        if steps < 8:
            return
        kept = [item for item, fate in zip(self.tombstones, found.fates, strict=True) if not fate.is_done]
        names = [fate.needed_by for fate in found.fates if not fate.is_done]
        reached = {manifest.backup.name: self.reached(manifest) for manifest in self.points}
        for manifest, name in zip(kept, names, strict=True):
            assert self.orphans or name
            assert not name or reached[name] & {disk.file for disk in manifest.disks}
        self.tombstones = kept

    def reached(self, manifest: Manifest) -> set[str]:
        disks = {disk.file: disk for item in self.points + self.tombstones for disk in item.disks}
        found: set[str] = set()
        for disk in manifest.disks:
            at: ManifestDisk | None = disk
            while at is not None:
                found.add(at.file)
                at = disks[at.parent.file] if at.parent else None
        return found

    def check_backings(self) -> None:
        """No file that is there depends on one that isn't."""
        for path, file in self.files.items():
            assert (
                file.backing is None
                or str(PurePosixPath(path).with_name(file.backing)) in self.files
                or (path in self.orphans)
            )

    def check(self) -> None:
        for manifest in self.points:
            assert self.reached(manifest) <= self.files.keys()
        owned = {disk.file for manifest in self.points + self.tombstones for disk in manifest.disks}
        assert self.files.keys() <= owned | self.orphans


_ACTIONS = ["backup"] * 4 + ["delete"] * 3 + ["free"] * 2
_ACTIONS += ["resize", "add_disk", "remove_disk", "orphan", "forget_orphan"]


@settings(max_examples=2000, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(_ACTIONS), st.integers(0, 15)), max_size=30))
def test_random_histories(actions: list[tuple[str, int]]) -> None:
    model = Model()
    for name, number in actions:
        getattr(model, name)(number)
        model.check()
    while model.orphans:
        model.forget_orphan(0)
    model.free(8)
    model.check()
    needed = {file for manifest in model.points for file in model.reached(manifest)}
    left = {disk.file for manifest in model.tombstones for disk in manifest.disks} & model.files.keys()
    assert left <= needed
    assert all(any(disk.file in needed for disk in manifest.disks) for manifest in model.tombstones)
    while model.points:
        model.delete(0)
    model.free(8)
    assert not model.files
    assert not model.tombstones
