"""Commits that are cut short at every step, and what the next attempt makes of them."""

from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest
from tests.support.chains import ODD_KINDS, odd
from tests.support.interruptions import CutShort

from sendense_operator.chain import layout
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Digest, Manifest, ManifestBackup, ManifestDisk, ManifestVM
from sendense_operator.task import BackupType, ProbeTask
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.maintenance.repository_maintenance import run_probe
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage import recovery
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.commit import commit

UID = "0b7ec3de-5ced-462b-9912-f63f580d6489"
OTHER = "1b7ec3de-5ced-462b-9912-f63f580d6489"
PATHS = ChainPaths("shop", "db")
AT = datetime(2025, 10, 5, 12, 0, 0, tzinfo=UTC)
STEPS = 10
"""intent, 4 renames, 2 folders, manifest, its folder, and the end."""


def make(root: Path, uid: str = UID, backup: str = "nightly", second: int = 0) -> Manifest:
    """Return a manifest of two disks, with its partials on the disk."""
    disks = []
    for index in range(2):
        stem = layout.layer_stem(BackupType.FULL, AT.replace(second=second))
        file = PATHS.disk(index) / layout.layer_name(stem)
        for path in (file, layout.digests_of(file)):
            partial = root / layout.partial(path)
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(f"{uid} {path.name}")
        disks.append(
            ManifestDisk(
                index=index,
                key=2000 + index,
                type=BackupType.FULL,
                file=str(file),
                virtual_size=512,
                stored_bytes=512,
                guest_bytes=512,
                coverage=512,
                change_id="a/1",
                digest=Digest(root="0" * 64, list=str(layout.digests_of(file))),
            )
        )
    return Manifest(
        backup=ManifestBackup(name=backup, uid=uid, namespace="shop"),
        vm=ManifestVM(name="db", vmware_name="db", vmware_path="/DC/vm/db"),
        repository_id="r",
        job_id="j",
        attempt=uid,
        started=AT,
        finished=AT,
        tools={},
        disks=tuple(disks),
    )


def run(root: Path, manifest: Manifest, stop_at: int | None = None) -> list[str]:
    """Commit, cut short before step number `stop_at`; the steps that were begun."""
    steps: list[str] = []

    def on_step(name: str) -> None:
        steps.append(name)
        if len(steps) - 1 == stop_at:
            raise CutShort

    lock = ChainLock.try_acquire(root / PATHS.lock, root, "pod")
    assert lock is not None
    place = recovery.free_place(root, PATHS, manifest.backup.name, manifest.backup.uid)
    with lock:
        commit(root, place, manifest, lock, on_step)
    return steps


def files(root: Path) -> set[str]:
    ignored = (layout.LOCK, layout.OWNER)
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name not in ignored}


def committed(manifest: Manifest, place: str = "shop/db/backups/nightly.json") -> set[str]:
    return {*manifest.files(), place}


def test_commit(tmp_path: Path) -> None:
    manifest = make(tmp_path)
    steps = run(tmp_path, manifest)
    assert len(steps) == STEPS
    assert steps[0] == "intent"
    assert steps[-3:] == ["manifest", "fsync manifest", "done"]
    assert files(tmp_path) == committed(manifest)
    assert (tmp_path / PATHS.tombstones).is_dir(), "removing it needs no room then"
    found = recovery.find_committed(tmp_path, PATHS, "nightly", UID)
    assert found == ("shop/db/backups/nightly.json", manifest)


@pytest.mark.parametrize("stop_at", range(STEPS))
def test_the_same_backup_carries_on(tmp_path: Path, stop_at: int) -> None:
    manifest = make(tmp_path)
    with pytest.raises(CutShort):
        run(tmp_path, manifest, stop_at)
    recovery.finish_commits(tmp_path, PATHS, UID)
    recovery.sweep(tmp_path, PATHS)
    found = recovery.find_committed(tmp_path, PATHS, "nightly", UID)
    if stop_at == 0:
        assert found is None
        assert not files(tmp_path)
    else:
        assert found is not None
        assert files(tmp_path) == committed(manifest)


@pytest.mark.parametrize("own_uid", [None, OTHER])
@pytest.mark.parametrize("stop_at", range(STEPS))
def test_another_backup_takes_it_back(tmp_path: Path, stop_at: int, own_uid: str | None) -> None:
    """What was committed before stays, what was not goes, and nothing of either is mixed up."""
    older = make(tmp_path, OTHER, "older", second=1)
    run(tmp_path, older)
    manifest = make(tmp_path)
    with pytest.raises(CutShort):
        run(tmp_path, manifest, stop_at)
    recovery.finish_commits(tmp_path, PATHS, own_uid)
    recovery.sweep(tmp_path, PATHS)
    kept = committed(older, "shop/db/backups/older.json")
    if stop_at >= STEPS - 2:  # the manifest had its name: only its folder was not flushed yet
        kept |= committed(manifest)
    assert files(tmp_path) == kept


@pytest.mark.parametrize("at", range(STEPS - 1))
def test_a_fenced_worker_stops_before_its_next_step(tmp_path: Path, at: int) -> None:
    manifest = make(tmp_path)
    lock = ChainLock.try_acquire(tmp_path / PATHS.lock, tmp_path, "pod")
    assert lock is not None
    count = 0
    before: set[str] = set()

    def on_step(_: str) -> None:
        nonlocal count, before
        if count == at:
            (tmp_path / PATHS.folder / layout.OWNER).write_text('{"podUID": "other"}')
            before = files(tmp_path)
        count += 1

    with lock, pytest.raises(WorkerError) as caught:
        commit(tmp_path, PurePosixPath("shop/db/backups/nightly.json"), manifest, lock, on_step)
    assert caught.value.reason == Reason.FENCED
    assert files(tmp_path) == before


@pytest.mark.parametrize("own_uid", [UID, None])
@pytest.mark.parametrize("at", range(4))
def test_who_is_fenced_while_it_tidies_up_touches_nothing_more(tmp_path: Path, own_uid: str | None, at: int) -> None:
    """Another one has the chain meanwhile, and its files may have these names."""
    manifest = make(tmp_path)
    with pytest.raises(CutShort):
        run(tmp_path, manifest, 2)
    lock = ChainLock.try_acquire(tmp_path / PATHS.lock, tmp_path, "pod")
    assert lock is not None
    reported: list[str] = []
    before: set[str] = set()

    def on_step(name: str) -> None:
        if len(reported) == at:
            (tmp_path / PATHS.folder / layout.OWNER).write_text('{"podUID": "other"}')
            before.update(files(tmp_path))
        reported.append(name)
        lock.before(name)

    with lock, pytest.raises(WorkerError) as caught:
        recovery.finish_commits(tmp_path, PATHS, own_uid, on_step)
        recovery.sweep(tmp_path, PATHS, on_step)
    assert caught.value.reason == Reason.FENCED
    assert len(reported) == at + 1
    assert files(tmp_path) == before


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_what_is_no_manifest_is_not_read(tmp_path: Path, kind: str) -> None:
    """Of a commit that was cut short only the partials go: that one may name its layers."""
    manifest = make(tmp_path)
    with pytest.raises(CutShort):
        run(tmp_path, manifest, 2)
    target = tmp_path / "target"
    target.write_bytes(manifest.to_json())
    odd(tmp_path / "shop/db/backups/odd.json", kind, target)
    odd(tmp_path / "shop/db/backups/other.json.partial", kind, target)
    recovery.finish_commits(tmp_path, PATHS, None)
    recovery.sweep(tmp_path, PATHS)
    assert (tmp_path / manifest.files()[0]).exists()
    assert not (tmp_path / "shop/db/backups/nightly.json.partial").exists()
    odd(tmp_path / "shop/db/backups/nightly.json", kind, target)
    assert recovery.find_committed(tmp_path, PATHS, "nightly", UID) is None
    assert target.read_bytes() == manifest.to_json()


def test_a_torn_intent_is_dropped(tmp_path: Path) -> None:
    manifest = make(tmp_path)
    intent = tmp_path / "shop/db/backups/nightly.json.partial"
    intent.parent.mkdir()
    intent.write_bytes(manifest.to_json()[:100])
    recovery.finish_commits(tmp_path, PATHS, UID)
    recovery.sweep(tmp_path, PATHS)
    assert not files(tmp_path)


def test_an_intent_that_names_a_committed_layer_takes_nothing(tmp_path: Path) -> None:
    manifest = make(tmp_path)
    run(tmp_path, manifest)
    forged = manifest.model_copy(update={"backup": ManifestBackup(name="x", uid=OTHER, namespace="shop")})
    (tmp_path / "shop/db/backups/x.json.partial").write_bytes(forged.to_json())
    recovery.finish_commits(tmp_path, PATHS, None)
    assert files(tmp_path) == committed(manifest)


def test_an_older_backup_of_the_same_name_keeps_its_manifest(tmp_path: Path) -> None:
    old = make(tmp_path, OTHER, second=1)
    run(tmp_path, old)
    new = make(tmp_path)
    run(tmp_path, new)
    place = f"shop/db/backups/nightly.{UID}.json"
    assert files(tmp_path) == committed(old) | committed(new, place)
    assert recovery.find_committed(tmp_path, PATHS, "nightly", UID) == (place, new)
    assert recovery.find_committed(tmp_path, PATHS, "nightly", OTHER) == ("shop/db/backups/nightly.json", old)


def test_a_committed_backup_with_a_missing_layer_is_damaged(tmp_path: Path) -> None:
    manifest = make(tmp_path)
    run(tmp_path, manifest)
    (tmp_path / manifest.disks[1].file).unlink()
    with pytest.raises(WorkerError) as caught:
        recovery.find_committed(tmp_path, PATHS, "nightly", UID)
    assert caught.value.reason == Reason.RESTORE_POINT_DAMAGED


def settings(root: Path) -> Settings:
    return Settings(pod_uid=OTHER, pod_ip="127.0.0.1", node_ip="127.0.0.1", repository=root)


def test_a_probe_sweeps_what_nobody_writes(tmp_path: Path) -> None:
    task = ProbeTask(namespace="shop", repository="r", repository_uid=UID)
    first = run_probe(settings(tmp_path), task)
    assert (first.outcome, first.repository_id, first.swept) == ("Completed", UID, 0)
    make(tmp_path)
    busy = ChainLock.try_acquire(tmp_path / PATHS.lock, tmp_path, "pod")
    assert busy is not None
    assert run_probe(settings(tmp_path), task).swept == 0
    assert len(recovery.partials(tmp_path, PATHS)) == 4
    busy.release()
    assert run_probe(settings(tmp_path), task).swept == 4
    assert files(tmp_path) == {layout.MARKER}


def test_a_probe_below_the_volume(tmp_path: Path) -> None:
    task = ProbeTask(namespace="shop", repository="r", repository_uid=UID, repository_path="backups/a")
    run_probe(settings(tmp_path), task)
    assert files(tmp_path) == {f"backups/a/{layout.MARKER}"}
    (tmp_path / "backups/a" / layout.MARKER).unlink()
    with pytest.raises(WorkerError) as caught:
        run_probe(settings(tmp_path), task.model_copy(update={"expected_id": UID}))
    assert caught.value.reason == Reason.NOT_A_REPOSITORY
