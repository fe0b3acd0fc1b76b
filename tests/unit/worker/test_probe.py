"""A repository's pod on files: what it removes, puts aside and leaves alone, and what it tells."""

import os
import time
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from tests.support.chains import PATHS, files, head, increment, layer, point, uid_of, write_point

from sendense_operator.catalogue import (
    ChainRecord,
    PointRecord,
    Record,
    RootRecord,
    TombstoneRecord,
    read_catalogue,
)
from sendense_operator.chain import layout
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Manifest
from sendense_operator.chain.unfit import Unfit
from sendense_operator.task import Answer, FullReason, ProbeTask, Removal
from sendense_operator.worker import repository
from sendense_operator.worker.chainfolder import mark_unfit, read_chain
from sendense_operator.worker.lock import ChainLock
from sendense_operator.worker.probe import run_probe
from sendense_operator.worker.quarantine import put_aside
from sendense_operator.worker.reasons import Reason, WorkerError
from sendense_operator.worker.settings import Settings

POD = uid_of(4711)
ID = uid_of(1)
FULL = point(1)
I2 = increment(2, FULL)
FULL3 = point(3)
SECONDS_FOR_1000 = 60.0


class Told:
    """What a probe answered and what it wrote."""

    def __init__(self, answer: Answer, lines: list[str]) -> None:
        self.answer, self.lines = answer, lines
        self.records: list[Record] = read_catalogue(lines, answer.catalogue) if answer.catalogue else []
        self.points = [record for record in self.records if isinstance(record, PointRecord)]
        self.tombstones = [record for record in self.records if isinstance(record, TombstoneRecord)]
        self.chains = {record.vm: record for record in self.records if isinstance(record, ChainRecord)}
        self.roots = [record for record in self.records if isinstance(record, RootRecord)]

    @property
    def chain(self) -> ChainRecord:
        return self.chains["db"]

    @property
    def root(self) -> RootRecord:
        (root,) = self.roots
        return root


def probe(root: Path, *remove: Manifest, **changes: Any) -> Told:
    lines: list[str] = []
    asked = tuple(Removal(vm=item.vm.name, backup=item.backup.name, backup_uid=item.backup.uid) for item in remove)
    task = ProbeTask(namespace="shop", repository="main", repository_uid=ID, remove=asked)
    settings = Settings(pod_uid=POD, pod_ip="127.0.0.1", node_ip="", repository=root)
    return Told(run_probe(settings, task.model_copy(update=changes), lines.append), lines)


def scan(root: Path, *remove: Manifest, **changes: Any) -> Told:
    return probe(root, *remove, scan=True, **changes)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    probe(tmp_path)
    return tmp_path


@pytest.fixture
def busy(root: Path) -> Any:
    """A worker has the chain's lock."""
    lock = ChainLock.try_acquire(root / PATHS.lock, root, "worker")
    assert lock is not None
    with lock:
        yield lock


def fill(root: Path, *manifests: Manifest) -> None:
    for manifest in manifests:
        write_point(root, manifest)


def names(told: Told) -> list[str]:
    return [record.backup for record in told.points]


def put(root: Path, path: str, data: bytes | str = b"x") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return file


def test_a_look_tells_no_catalogue(root: Path) -> None:
    fill(root, FULL)
    told = probe(root)
    assert (told.answer.catalogue, told.lines) == (None, [])


def test_an_empty_repository(root: Path) -> None:
    told = scan(root)
    assert told.records == [RootRecord()]


def test_a_scan_tells_all(root: Path) -> None:
    fill(root, FULL, I2, FULL3)
    told = scan(root)
    assert names(told) == ["b1", "b2", "b3"]
    assert told.chain == ChainRecord(vm="db", points=3)
    record = told.points[1]
    assert record == PointRecord(
        vm="db",
        backup="b2",
        backup_uid=uid_of(2),
        manifest="shop/db/backups/b2.json",
        sequence=2,
        started=I2.started,
        finished=I2.finished,
        job_id="job-2",
        vm_name="db",
        disks=(I2.disks[0].to_answer(),),
    )
    assert record.disks[0].parent == "b1"
    assert told.root == RootRecord()


def test_removing_tells_of_its_chains_only(root: Path) -> None:
    other = ChainPaths("shop", "web")
    fill(root, FULL, I2)
    write_point(root, point(7, paths=other), paths=other)
    told = probe(root, FULL)
    assert (names(told), list(told.chains), told.roots) == (["b2"], ["db"], [])
    ((grave),) = told.tombstones
    assert (grave.backup, grave.needed_by) == ("b1", "b2")
    assert grave.stored > 0
    told = probe(root, I2, FULL)
    assert (names(told), told.tombstones, told.chain) == ([], [], ChainRecord(vm="db"))


def test_removing_from_a_chain_that_is_gone(root: Path) -> None:
    told = probe(root, FULL)
    assert told.answer.catalogue is not None
    assert told.records == []
    assert not (root / "shop").exists()


def test_a_look_frees_what_waited(root: Path, tmp_path: Path) -> None:
    fill(root, FULL, I2)
    probe(root, FULL)
    (root / "shop/db/backups/b2.json").rename(root / PATHS.tombstone("b2", uid_of(2)))
    probe(root)
    assert files(root) == set()


def full_while(monkeypatch: pytest.MonkeyPatch, file: Path, reason: str = Reason.REPOSITORY_FULL) -> None:
    """A volume without room for as long as `file` is there."""

    def check(*_: Any) -> None:
        if file.exists():
            raise WorkerError(reason, "writing a test file to the volume")

    monkeypatch.setattr(repository, "check_writable", check)


def test_removing_from_a_full_volume(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(root, FULL, FULL3)
    full_while(monkeypatch, root / FULL3.disks[0].file)
    told = probe(root, FULL3)
    assert (names(told), told.tombstones) == (["b1"], [])
    assert files(root) == {*FULL.files(), "shop/db/backups/b1.json"}


def test_a_volume_that_stays_full(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(root, FULL, FULL3)
    full_while(monkeypatch, root)
    with pytest.raises(WorkerError) as caught:
        probe(root, FULL3)
    assert caught.value.reason == Reason.REPOSITORY_FULL
    assert files(root) == {*FULL.files(), "shop/db/backups/b1.json"}


def test_nothing_is_done_on_a_volume_that_can_t_be_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(root, FULL, FULL3)
    before = files(root)
    full_while(monkeypatch, root, Reason.READ_ONLY)
    with pytest.raises(WorkerError) as caught:
        probe(root, FULL3)
    assert caught.value.reason == Reason.READ_ONLY
    assert files(root) == before


def test_a_scan_makes_what_a_removal_may_have_no_room_for(root: Path) -> None:
    fill(root, FULL)
    scan(root)
    assert (root / PATHS.tombstones).is_dir()


@pytest.mark.usefixtures("busy")
def test_a_chain_in_use(root: Path) -> None:
    """What is listed is told, nothing is swept, freed or put aside: its writer may be about to use it."""
    fill(root, FULL, I2, FULL3)
    put(root, "shop/db/disk-0/stranger")
    writing = put(
        root, "shop/db/disk-0/incr-20251006-000000.qcow2.partial", head(1 << 20, Path(FULL3.disks[0].file).name)
    )
    before = files(root)
    told = scan(root, FULL3)
    assert names(told) == ["b1", "b2"]
    assert [(grave.backup, grave.needed_by) for grave in told.tombstones] == [("b3", "")]
    assert (told.chain.complete, told.chain.busy) == (True, True)
    assert "writing this chain" in told.chain.message
    assert (told.chain.unknown, told.chain.quarantined, told.answer.swept) == (0, 0, 0)
    assert len(files(root)) == len(before)
    assert writing.exists()
    assert (root / FULL3.disks[0].file).exists()


def test_what_waits_for_a_writer_goes_after_it(root: Path, busy: ChainLock) -> None:
    fill(root, FULL3)
    assert probe(root, FULL3).tombstones
    busy.release()
    assert probe(root, FULL3).tombstones == []
    assert files(root) == set()


def test_a_lock_that_can_t_be_had_is_as_good_as_taken(root: Path) -> None:
    fill(root, FULL)
    (root / PATHS.lock).mkdir()
    told = scan(root)
    assert (names(told), told.chain.complete, told.chain.busy) == (["b1"], True, True)


def test_strangers_are_put_aside(root: Path) -> None:
    fill(root, FULL)
    known = files(root)
    strangers = {
        "shop/db/disk-0/full-20250101-000000.qcow2": head(512),
        "shop/db/disk-0/full-20250101-000000.qcow2.digests": b"x" * 32,
        "shop/db/disk-1/incr-20250101-000001.qcow2": head(512, "full-20250101-000000.qcow2"),
        "shop/db/disk-0/holiday.partial": b"a person's",
        "shop/db/backups/notes.txt": b"a person's",
    }
    for path, data in strangers.items():
        put(root, path, data)
    told = scan(root)
    assert (told.chain.unknown, told.chain.quarantined) == (0, 5)
    moved = files(root) - known
    assert {path.split("/", 4)[4]: (root / path).read_bytes() for path in moved} == {
        path.removeprefix("shop/db/"): data for path, data in strangers.items()
    }
    assert all(path.startswith("shop/db/.quarantine/") for path in moved)
    assert (scan(root).chain.quarantined, names(scan(root))) == (5, ["b1"])
    assert files(root) == known | moved


def test_a_second_stranger_of_a_name_replaces_none(root: Path) -> None:
    fill(root, FULL)
    for text in ("first", "second", "third"):
        put(root, "shop/db/disk-0/x", text)
        scan(root)
    kept = sorted(path.read_text() for path in (root / PATHS.quarantine).rglob("x"))
    assert kept == ["first", "second", "third"]


def test_who_is_fenced_puts_nothing_more_aside(root: Path) -> None:
    fill(root, FULL)
    strangers = [PurePosixPath(f"shop/db/disk-0/{name}") for name in ("x", "y", "z")]
    for path in strangers:
        put(root, str(path))
    lock = ChainLock.try_acquire(root / PATHS.lock, root, POD)
    assert lock is not None

    def on_step(name: str) -> None:
        if name.endswith("/y"):
            put(root, "shop/db/.owner", '{"podUID": "another"}')
        lock.before(name)

    with lock, pytest.raises(WorkerError) as caught:
        put_aside(root, PATHS, strangers, datetime.now(UTC), on_step)
    assert caught.value.reason == Reason.FENCED
    assert [(root / path).exists() for path in strangers] == [False, True, True]


def test_only_a_scan_puts_aside(root: Path) -> None:
    fill(root, FULL, FULL3)
    stranger = put(root, "shop/db/disk-0/x")
    assert probe(root, FULL3).chain.unknown == 1
    assert stranger.exists()


def test_what_is_odd_is_counted_only(root: Path) -> None:
    fill(root, FULL)
    (root / "shop/db/disk-0/link.qcow2").symlink_to(root / FULL.disks[0].file)
    (root / "shop/db/disk-0/folder").mkdir()
    os.mkfifo(root / "shop/db/disk-0/incr-20250101-000001.qcow2")
    (root / "shop/db/backups/link").symlink_to("/etc/passwd")
    put(root, "shop/db/disk-0/.nfs0001")
    put(root, "shop/db/lost")
    told = scan(root)
    assert (told.chain.unknown, told.chain.quarantined, told.chain.complete) == (6, 0, True)
    assert told.points[0].damage == ""


def test_what_lies_beside_the_chains(root: Path) -> None:
    fill(root, FULL)
    other = ChainPaths("other", "web")
    write_point(root, point(7, paths=other), paths=other)
    for path in ("README", "Photos/a.jpg", "shop/notes", "shop/empty-folder/x", "lost+found/x", "lone/x/y"):
        put(root, path)
    (root / "link").symlink_to(root / "shop")
    before = files(root)
    told = scan(root)
    assert told.root == RootRecord(unknown=5, other_folders=("other",))
    assert list(told.chains) == ["db"]
    assert files(root) == before


def test_another_folder_than_the_namespace(root: Path) -> None:
    other = ChainPaths("archive", "web")
    write_point(root, point(7, paths=other), paths=other)
    fill(root, FULL)
    told = scan(root, folder="archive")
    assert (names(told), told.root.other_folders) == (["b7"], ("shop",))
    assert told.points[0].manifest == "archive/web/backups/b7.json"


def test_other_namespaces_are_swept_and_nothing_else(root: Path) -> None:
    fill(root, FULL)
    put(root, "shop/db/disk-0/x")
    put(root, "shop/db/disk-0/full-20250101-000000.qcow2.partial")
    put(root, "shop/db/disk-0/holiday.partial")
    told = scan(root, namespace="elsewhere")
    assert told.answer.swept == 1
    assert {"shop/db/disk-0/x", "shop/db/disk-0/holiday.partial"} <= files(root)
    assert not (root / "shop/db/disk-0/full-20250101-000000.qcow2.partial").exists()


@pytest.mark.parametrize(
    ("data", "unreadable", "newer"),
    [
        (b"", 1, 0),
        (b"{", 1, 0),
        (b"\xff" * 100, 1, 0),
        (b'{"format": "sendense.io/manifest", "version": 2, "layers": []}', 0, 1),
        (FULL3.to_json().replace(b"52 de/3", b"52 de/4"), 1, 0),
        (b" " * (5 << 20), 1, 0),
    ],
)
def test_a_manifest_that_can_t_be_read_is_left_alone(root: Path, data: bytes, unreadable: int, newer: int) -> None:
    """And so is all that it may need."""
    fill(root, FULL, I2, FULL3)
    odd = root / "shop/db/backups/b3.json"
    odd.write_bytes(data)
    stranger = put(root, "shop/db/disk-0/x")
    told = scan(root, I2)
    assert (told.chain.unreadable, told.chain.newer, told.chain.complete) == (unreadable, newer, True)
    assert names(told) == ["b1"]
    assert [(grave.backup, grave.needed_by) for grave in told.tombstones] == [("b2", "")]
    assert odd.read_bytes() == data
    assert stranger.exists()
    assert {*FULL3.files(), *I2.files()} <= files(root)
    assert told.chain.quarantined == 0


def test_a_manifest_with_a_name_that_is_none(root: Path) -> None:
    fill(root, FULL)
    for number, change in enumerate(({"name": "../x"}, {"uid": "x"})):
        forged = FULL3.model_copy(update={"backup": FULL3.backup.model_copy(update=change)})
        put(root, f"shop/db/backups/forged-{number}.json", forged.to_json())
    assert (names(scan(root)), scan(root).chain.unreadable) == (["b1"], 2)


def test_damage_is_told(root: Path) -> None:
    fill(root, FULL, I2, FULL3)
    (root / FULL.disks[0].file).unlink()
    (seen,) = [item for item in read_chain(root, PATHS).points if item.manifest == FULL3]
    refused = Unfit(index=0, reason=FullReason.CHANGE_ID_REFUSED, time=datetime(2025, 10, 6, tzinfo=UTC))
    mark_unfit(root, seen, (refused,))
    told = scan(root)
    assert [bool(record.damage) for record in told.points] == [True, True, False]
    assert "stands on b1" in told.points[1].damage
    assert [record.full_next for record in told.points] == ["ParentUnverified", "ParentUnverified", "ChangeIDRefused"]


def failing(monkeypatch: pytest.MonkeyPatch, end: str, code: int = 5) -> None:
    """Listing or opening what ends so fails as a server that is half away does."""
    scandir, listdir, opened = os.scandir, os.listdir, os.open

    def refuse(path: Any) -> None:
        if str(path).endswith(end):
            raise OSError(code, os.strerror(code), str(path))

    def broken(function: Any) -> Any:
        def call(path: Any = ".", *rest: Any, **named: Any) -> Any:
            refuse(path)
            return function(path, *rest, **named)

        return call

    monkeypatch.setattr(os, "scandir", broken(scandir))
    monkeypatch.setattr(os, "listdir", broken(listdir))
    monkeypatch.setattr(os, "open", broken(opened))


@pytest.mark.parametrize("end", ["/db", "/db/backups", "/db/.tombstones", "/db/disk-0", "/b2.json", "/db/.quarantine"])
@pytest.mark.parametrize("code", [5, 13, 116])
def test_half_a_listing_is_none(root: Path, monkeypatch: pytest.MonkeyPatch, end: str, code: int) -> None:
    web = ChainPaths("shop", "web")
    write_point(root, point(7, paths=web), paths=web)
    fill(root, FULL, I2)
    probe(root, FULL)
    put(root, "shop/db/disk-0/x")
    (root / PATHS.quarantine).mkdir()
    before = files(root)
    with monkeypatch.context() as patch:
        failing(patch, end, code)
        told = scan(root)
    assert not told.chain.complete
    assert os.strerror(code) in told.chain.message
    assert names(told) == ["b7"]
    assert told.chains["web"].complete
    assert len(files(root)) == len(before)
    assert {*FULL.files(), *I2.files()} <= files(root)


def test_a_removal_that_fails_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(root, FULL, I2)
    with monkeypatch.context() as patch:
        failing(patch, "/b1.json")
        told = probe(root, FULL)
    assert not told.chain.complete
    assert "removing" in told.chain.message
    assert probe(root, FULL).chain.complete


def test_a_layer_that_can_t_be_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told as damage of what needs it; the others are told as ever."""
    fill(root, FULL, I2, FULL3)
    with monkeypatch.context() as patch:
        failing(patch, I2.disks[0].file.rpartition("/")[2])
        told = scan(root)
    assert told.chain.complete
    assert [record.damage != "" for record in told.points] == [False, True, False]
    assert "Input/output error" in told.points[1].damage
    assert scan(root).points[1].damage == ""


def test_a_root_that_can_t_be_listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(root, FULL)
    with monkeypatch.context() as patch:
        failing(patch, "/shop")
        told = scan(root)
    assert not told.root.complete
    assert told.points == []
    assert files(root) == {*FULL.files(), "shop/db/backups/b1.json"}


def test_what_a_killed_probe_left_at_the_root(root: Path) -> None:
    old, new = put(root, f".sendense-write-{uid_of(2)}.partial"), put(root, f".sendense-write-{uid_of(3)}.partial")
    stranger = put(root, "film.partial")
    for path in (old, stranger):
        os.utime(path, (1, 1))
    told = scan(root)
    assert (told.answer.swept, told.root.unknown) == (1, 1)
    assert (old.exists(), new.exists(), stranger.exists()) == (False, True, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"folder": "../x", "remove": (Removal(vm="db", backup="b1", backup_uid=uid_of(1)),)},
        {"remove": (Removal(vm="../db", backup="b1", backup_uid=uid_of(1)),)},
        {"remove": (Removal(vm="db", backup="b/1", backup_uid=uid_of(1)),)},
        {"remove": (Removal(vm="db", backup="b1", backup_uid="*"),)},
        {"folder": "../x", "scan": True},
    ],
)
def test_names_that_become_no_path(root: Path, changes: dict[str, Any]) -> None:
    fill(root, FULL)
    before = files(root)
    with pytest.raises(WorkerError) as caught:
        probe(root, **changes)
    assert caught.value.reason == Reason.BAD_TASK
    assert files(root) == before


def fill_chains(root: Path, chains: int, points: int) -> None:
    for number in range(chains):
        paths = ChainPaths("shop", f"vm-{number}")
        last: Manifest | None = None
        for at in range(1, points + 1):
            disks = [
                layer(at, index, parent=(last, index) if last and at % 8 else None, paths=paths) for index in (0, 1)
            ]
            last = point(at, disks, paths=paths)
            write_point(root, last, paths=paths)


def test_a_thousand_restore_points(root: Path) -> None:
    fill_chains(root, 20, 50)
    started = time.monotonic()
    told = scan(root)
    assert time.monotonic() - started < SECONDS_FOR_1000
    assert len(told.points) == 1000
    assert not any(record.damage for record in told.points)


def peak(root: Path) -> int:
    tracemalloc.start()
    try:
        run_probe(
            Settings(pod_uid=POD, pod_ip="127.0.0.1", node_ip="", repository=root),
            ProbeTask(namespace="shop", repository="main", repository_uid=ID, scan=True),
            lambda _: None,
        )
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_repository(root: Path) -> None:
    fill_chains(root, 5, 20)
    peak(root)
    few = peak(root)
    fill_chains(root, 40, 20)
    assert peak(root) < 1.3 * few + (1 << 20)


def test_partials_of_ours_are_swept(root: Path) -> None:
    fill(root, FULL)
    for name in ("disk-0/full-20250101-000000.qcow2", "disk-0/full-20250101-000000.qcow2.digests", "backups/x.json"):
        put(root, f"shop/db/{name}{layout.PARTIAL}")
    assert scan(root).answer.swept == 3
    assert files(root) == {*FULL.files(), "shop/db/backups/b1.json"}
