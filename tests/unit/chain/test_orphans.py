import pytest
from tests.support.chains import increment, point

from sendense_operator.chain.disk_file import DiskFile
from sendense_operator.chain.orphans import movable_files, unknown_files

FULL = point(1)
I2 = increment(2, FULL)
BASE, TOP = FULL.disks[0].file, I2.disks[0].file
NAME = BASE.rpartition("/")[2]
FOLDER = BASE.rpartition("/")[0]


def known(*files: str) -> dict[str, DiskFile]:
    return {name: DiskFile() for file in files for name in (file, f"{file}.digests")}


@pytest.mark.parametrize(
    ("orphans", "unknown", "movable"),
    [
        ({}, [], []),
        ({"x": None}, ["x"], ["x"]),
        ({"full-20251005-130000.qcow2": None}, ["full-20251005-130000.qcow2"], ["full-20251005-130000.qcow2"]),
        # the sweep takes it, or a worker is writing it
        ({"full-20251005-130000.qcow2.partial": None}, [], []),
        ({"holiday.partial": None}, ["holiday.partial"], ["holiday.partial"]),
        ({".nfs0001": None}, [".nfs0001"], []),
        # one orphan on another, and on a layer of ours
        ({"a": None, "b": "a"}, ["a", "b"], ["a", "b"]),
        ({"b": NAME}, ["b"], ["b"]),
        # what stays in place needs it
        ({"a": None, ".b": "a"}, ["a", ".b"], []),
        ({"a": None, "a.digests": None, ".b": "a"}, ["a", "a.digests", ".b"], []),
    ],
)
def test_orphans(orphans: dict[str, str | None], unknown: list[str], movable: list[str]) -> None:
    files = known(BASE, TOP) | {f"{FOLDER}/{name}": DiskFile(backing=below) for name, below in orphans.items()}
    assert unknown_files([FULL, I2], files) == tuple(f"{FOLDER}/{name}" for name in unknown)
    assert movable_files([FULL, I2], files) == tuple(f"{FOLDER}/{name}" for name in movable)


@pytest.mark.parametrize("by", ["manifest", "header"])
def test_a_layer_whose_manifest_is_lost_is_still_needed(by: str) -> None:
    files = known(BASE, TOP)
    if by == "header":
        top = I2.disks[0].model_copy(update={"parent": None})
        lone = I2.model_copy(update={"disks": (top,)})
        files[TOP] = DiskFile(backing=NAME)
    else:
        lone = I2
    assert unknown_files([lone], files) == (BASE, f"{BASE}.digests")
    assert movable_files([lone], files) == ()
