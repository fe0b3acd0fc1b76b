from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.chains import SIZE, head, increment, layer, point

from sendense_operator.chain.damage import DamageVerdict, Judge
from sendense_operator.chain.disk_file import DiskFile
from sendense_operator.chain.manifest import Manifest
from sendense_operator.chain.parent_blocks import Unfit
from sendense_operator.task import FullReason

FULL = point(1)
I2 = increment(2, FULL)
I3 = increment(3, I2)
BASE, MIDDLE, TOP = (manifest.disks[0].file for manifest in (FULL, I2, I3))
NAMES = {file: file.rpartition("/")[2] for file in (BASE, MIDDLE, TOP)}
NOW = datetime(2025, 10, 6, tzinfo=UTC)


def image(virtual_size: int = SIZE, backing: str | None = None, length: int = 1 << 20) -> DiskFile:
    return DiskFile.of(head(virtual_size, backing), length, 4096)


def all_files() -> dict[str, DiskFile]:
    lists = {f"{file}.digests": DiskFile(length=32) for file in NAMES}
    return lists | {BASE: image(), MIDDLE: image(backing=NAMES[BASE]), TOP: image(backing=NAMES[MIDDLE])}


def judge(
    files: dict[str, DiskFile | None],
    marks: dict[int, tuple[Unfit, ...]] | None = None,
    tombstones: tuple[Manifest, ...] = (),
) -> list[DamageVerdict]:
    there = {path: file for path, file in (all_files() | files).items() if file is not None}
    points = [manifest for manifest in (FULL, I2, I3) if manifest not in tombstones]
    judging = Judge([(item, (marks or {}).get(item.sequence, ())) for item in points], tombstones, there)
    return [judging.judge(manifest) for manifest in points]


def mark(reason: FullReason, index: int = 0, **fields: Any) -> Unfit:
    return Unfit(index=index, reason=reason, time=NOW, **fields)


def test_nothing_is_wrong() -> None:
    assert judge({}) == [DamageVerdict()] * 3
    assert judge({}, tombstones=(FULL,)) == [DamageVerdict()] * 2


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (None, "is missing"),
        (DiskFile.of(b"", 0, 0), "too short for a QCOW2 header: 0 bytes"),
        (DiskFile.of(b"garbage" * 600, 4200, 0), "not a QCOW2 image"),
        (image(virtual_size=SIZE + 512), "instead of 1048576"),
        (image(backing="full-20251005-120009.qcow2"), "backing name"),
        (DiskFile(flaw="can't be read: I/O error", is_opaque=True), "I/O error"),
    ],
)
@pytest.mark.parametrize("tombstones", [(), (FULL,), (FULL, I2)])
def test_a_bad_layer_and_all_that_stand_on_it(
    file: DiskFile | None, text: str, tombstones: tuple[Manifest, ...]
) -> None:
    for bad, first in ((BASE, 0), (MIDDLE, 1), (TOP, 2)):
        verdicts = dict(zip(range(len(tombstones), 3), judge({bad: file}, tombstones=tombstones), strict=True))
        for number, verdict in verdicts.items():
            if number < first:
                assert verdict == DamageVerdict()
            else:
                assert text in verdict.damage
                assert bad in verdict.damage
                assert verdict.full_next == FullReason.PARENT_UNVERIFIED
                assert (f"depends on b{first + 1}" in verdict.damage) is (number > first)


def test_a_layer_that_was_cut() -> None:
    files = all_files()
    for bad, number in ((BASE, 0), (MIDDLE, 1), (TOP, 2)):
        verdicts = judge({bad: replace(files[bad], length=511)})
        assert ["has 511 bytes instead of" in verdict.damage for verdict in verdicts] == [
            at >= number for at in range(3)
        ]


@pytest.mark.parametrize(("file", "text"), [(None, "is missing"), (DiskFile(length=31), "31 bytes instead of 32")])
def test_a_list_of_digests_matters_to_its_own_point_only(file: DiskFile | None, text: str) -> None:
    below, own, above = judge({f"{MIDDLE}.digests": file})
    assert (below, above) == (DamageVerdict(), DamageVerdict())
    assert text in own.damage
    assert own.full_next == FullReason.PARENT_UNVERIFIED


def test_a_mark_of_damage_counts_for_all_above() -> None:
    verdicts = judge({}, {2: (mark(FullReason.PARENT_UNVERIFIED, message="chunk 7 differs"),)})
    assert verdicts[0] == DamageVerdict()
    assert "chunk 7 differs" in verdicts[1].damage
    assert "depends on b2" in verdicts[2].damage


def test_a_refused_change_id_is_no_damage() -> None:
    refused = (mark(FullReason.CHANGE_ID_REFUSED),)
    assert judge({}, {2: refused}) == [
        DamageVerdict(),
        DamageVerdict("", FullReason.CHANGE_ID_REFUSED),
        DamageVerdict(),
    ]


def test_damage_says_more_than_a_refused_change_id() -> None:
    verdict = judge({TOP: None}, {3: (mark(FullReason.CHANGE_ID_REFUSED),)})[2]
    assert verdict.full_next == FullReason.PARENT_UNVERIFIED


def test_each_disk_is_reported() -> None:
    two = point(1, [layer(1, 0), layer(1, 1)])
    (verdict,) = [Judge([(two, ())], (), {}).judge(two)]
    assert "disk 0: " in verdict.damage
    assert "disk 1: " in verdict.damage


def test_a_point_has_the_damage_of_its_own_disks_layers_only() -> None:
    """Its second disk was copied in full since the one below is damaged."""
    below = point(1, [layer(1, 0), layer(1, 1)])
    above = point(2, [layer(2, 0, parent=(below, 0)), layer(2, 1)])
    fulls = [disk.file for disk in (*below.disks, above.disks[1])]
    files = {file: image() for file in fulls} | {above.disks[0].file: image(backing=fulls[0].rpartition("/")[2])}
    files |= {f"{file}.digests": DiskFile(length=32) for file in files}
    judging = Judge([(below, (mark(FullReason.PARENT_UNVERIFIED, 1, message="cut"),)), (above, ())], (), files)
    assert judging.judge(below).damage.startswith("disk 1: ")
    assert judging.judge(above) == DamageVerdict()


@pytest.mark.parametrize(
    ("backing", "base", "damage"),
    [
        (None, None, ""),
        ("full-20251005-120001.qcow2", image(), ""),
        ("full-20251005-120001.qcow2", None, "is missing"),
        ("../x", None, "has the backing name '../x'"),
    ],
)
def test_a_layer_whose_manifest_is_lost(backing: str | None, base: DiskFile | None, damage: str) -> None:
    files = all_files() | {MIDDLE: image(backing=backing)}
    files = {path: file for path, file in files.items() if path != BASE} | ({BASE: base} if base else {})
    verdict = Judge([(I3, ())], (), files).judge(I3)
    assert damage in verdict.damage if damage else verdict == DamageVerdict()


def test_a_parent_in_another_folder() -> None:
    (disk,) = I2.disks
    assert disk.parent is not None
    moved = disk.parent.model_copy(update={"file": BASE.replace("disk-0", "disk-1")})
    liar = I2.model_copy(update={"disks": (disk.model_copy(update={"parent": moved}),)})
    assert "another folder" in Judge([(liar, ())], (), all_files()).judge(liar).damage


def test_a_circle_ends() -> None:
    (disk,) = I2.disks
    assert disk.parent is not None
    parent = disk.parent.model_copy(update={"file": disk.file})
    circle = I2.model_copy(update={"disks": (disk.model_copy(update={"parent": parent}),)})
    files = all_files() | {MIDDLE: image(backing=NAMES[MIDDLE])}
    assert "depends on itself" in Judge([(circle, ())], (), files).judge(circle).damage


def test_a_chain_longer_than_the_interpreter_s_stack() -> None:
    points, files = [FULL], {BASE: image(), f"{BASE}.digests": DiskFile(length=32)}
    for number in range(2, 3000):
        points.append(increment(number, points[-1]))
        (disk,) = points[-1].disks
        assert disk.parent is not None
        files[disk.file] = image(backing=disk.parent.file.rpartition("/")[2])
        files[f"{disk.file}.digests"] = DiskFile(length=32)
    judging = Judge([(item, ()) for item in points], (), files)
    assert {judging.judge(item) for item in reversed(points)} == {DamageVerdict()}


def test_content_that_is_wrong_is_damage_of_its_own_restore_point() -> None:
    """An increment above may hold anew what is wrong below; a layer that is at fault spoils all above it."""
    wrong = mark(FullReason.PARENT_UNVERIFIED, message="wrong", chunks=(3,))
    first, second, third = judge({}, {1: (wrong,)})
    assert "wrong" in first.damage
    assert first.full_next == FullReason.PARENT_UNVERIFIED
    assert (second, third) == (DamageVerdict(), DamageVerdict())
    assert all(verdict.damage for verdict in judge({}, {1: (mark(FullReason.PARENT_UNVERIFIED, layer=BASE),)}))
