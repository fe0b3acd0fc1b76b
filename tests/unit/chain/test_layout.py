from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePosixPath

import pytest

from sendense_operator.chain import layout
from sendense_operator.chain.layout import ChainPaths, LayoutError
from sendense_operator.task import BackupType

UID = "0b7ec3de-5ced-462b-9912-f63f580d6489"
AT = datetime(2025, 10, 5, 12, 0, 0, tzinfo=UTC)


def test_paths_are_those_of_the_design() -> None:
    paths = ChainPaths("shop", "db-1")
    assert str(paths.lock) == "shop/db-1/.lock"
    assert str(paths.disk(0)) == "shop/db-1/disk-0"
    first, second = paths.manifests("nightly", UID)
    assert str(first) == "shop/db-1/backups/nightly.json"
    assert str(second) == f"shop/db-1/backups/nightly.{UID}.json"


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", "a-", "a.b", "a" * 64, "json:{}", "a\n", "ä", "a b", "."])
def test_only_object_names_become_paths(name: str) -> None:
    with pytest.raises(LayoutError):
        ChainPaths(name, "vm")
    with pytest.raises(LayoutError):
        ChainPaths("ns", name)
    with pytest.raises(LayoutError):
        ChainPaths("ns", "vm").manifests(name, UID)


@pytest.mark.parametrize("uid", ["", "../x", UID.upper(), UID + "0"])
def test_only_uids_become_paths(uid: str) -> None:
    with pytest.raises(LayoutError):
        ChainPaths("ns", "vm").manifests("b", uid)


@pytest.mark.parametrize("index", [-1, 1000])
def test_disk_index_is_bounded(index: int) -> None:
    with pytest.raises(LayoutError):
        ChainPaths("ns", "vm").disk(index)


@pytest.mark.parametrize(
    ("at", "collision", "stem"),
    [
        (AT, 0, "full-20251005-120000"),
        (AT, 1, "full-20251005-120000-2"),
        (AT.astimezone(timezone(timedelta(hours=2))), 0, "full-20251005-120000"),
    ],
)
def test_layer_stem(at: datetime, collision: int, stem: str) -> None:
    assert layout.layer_stem(BackupType.FULL, at, collision) == stem
    assert layout.layer_name(stem) == f"{stem}.qcow2"


def test_layer_stem_needs_a_zone() -> None:
    with pytest.raises(LayoutError):
        layout.layer_stem(BackupType.FULL, datetime(2025, 10, 5))


@pytest.mark.parametrize(
    ("taken", "stem"),
    [
        ([], "full-20251005-120000"),
        (["full-20251005-120000.qcow2"], "full-20251005-120000-2"),
        (["full-20251005-120000.qcow2.partial"], "full-20251005-120000-2"),
        (["full-20251005-120000.qcow2", "full-20251005-120000-2.qcow2.digests"], "full-20251005-120000-3"),
        (["incr-20251005-120000.qcow2"], "full-20251005-120000"),
    ],
)
def test_free_stem(taken: list[str], stem: str) -> None:
    assert layout.free_stem(BackupType.FULL, AT, frozenset(taken)) == stem


@pytest.mark.parametrize(
    "text",
    [
        "../x/disk-0/full-20251005-120000.qcow2",
        "ns/vm/disk-0/full.qcow2",
        "ns/vm/disk-00/full-20251005-120000.qcow2",
        "/ns/vm/disk-0/full-20251005-120000.qcow2",
        "ns/vm/full-20251005-120000.qcow2",
        "json:{}",
        "",
        "ns/vm/disk-0/full-20251005-120000.qcow2,x=y",
        "ns/vm/disk-0/full-20251005-120000.qcow2\n",
    ],
)
def test_check_layer_path_refuses(text: str) -> None:
    with pytest.raises(LayoutError):
        layout.check_layer_path(text)


def test_names_beside_a_layer() -> None:
    layer = layout.check_layer_path("ns/vm/disk-0/incr-20251005-120000-2.qcow2")
    assert layout.partial(layer).name == "incr-20251005-120000-2.qcow2.partial"
    assert layout.digests_of(layer).name == "incr-20251005-120000-2.qcow2.digests"
    assert layout.is_partial(layout.partial(layer).name)
    assert not layout.is_partial(layer.name)


@pytest.mark.parametrize(("text", "ok"), [("", True), ("a", True), ("a/b.c", True), ("../a", False), ("a//b", False)])
@pytest.mark.parametrize("suffix", ["", "/x,y", "/.."])
def test_check_root(text: str, ok: bool, suffix: str) -> None:
    if ok and not suffix:
        assert layout.check_root(text) == PurePosixPath(text)
    else:
        with pytest.raises(LayoutError):
            layout.check_root(text + suffix)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("full-20251005-120000.qcow2.partial", True),
        ("incr-20251005-120000-2.qcow2.digests.partial", True),
        ("incr-20251005-120000-2.qcow2.compact.partial", True),
        ("incr-20251005-120000-2.qcow2.compact", False),
        ("film.qcow2.compact.partial", False),
        ("nightly.json.partial", True),
        (f"nightly.{UID}.json.partial", True),
        ("nightly.json.unfit.partial", True),
        ("nightly.json", False),
        ("holiday.partial", False),
        ("film.qcow2.partial", False),
        ("full-20251005.qcow2.partial", False),
        ("full-20251005-120000.qcow2.partial~", False),
        ("full-20251005-120000.raw.partial", False),
        ("Nightly.json.partial", False),
        ("nightly.x.json.partial", False),
        (".partial", False),
        ("full-20251005-120000.qcow2.partial\n", False),
    ],
)
def test_only_partials_of_ours_are_swept(name: str, ours: bool) -> None:
    assert layout.is_partial(name) is ours


@pytest.mark.parametrize(
    ("name", "ours"),
    [("nightly.json.unfit", True), (f"nightly.{UID}.json.unfit", True), ("x.unfit", False), ("nightly.json", False)],
)
def test_marks(name: str, ours: bool) -> None:
    assert layout.is_unfit(name) is ours
    assert not ours or layout.unfit_of(PurePosixPath(layout.manifest_of(name))).name == name


def test_tombstones() -> None:
    paths = ChainPaths("shop", "db")
    assert str(paths.tombstone("nightly", UID)) == f"shop/db/.tombstones/nightly.{UID}.json"
    assert str(paths.tombstone("nightly", UID, 2)) == f"shop/db/.tombstones/nightly.{UID}.2.json"
