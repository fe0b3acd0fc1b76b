"""What is flushed, renamed and unlinked, in which order, and with which arguments: taken out, a test here fails.

A power cut may lose whatever was not flushed, and no test of ours can cut the power.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.chains import PATHS, SIZE, increment, point, write_point
from tests.support.interruptions import CutShort
from tests.unit.worker.storage import test_commit as commits
from tests.unit.worker.support import UID, settings, task

from sendense_operator.chain import layout
from sendense_operator.chain.extents import LayerMap
from sendense_operator.chain.manifest import CHUNK
from sendense_operator.chain.parent_blocks import mark_damage
from sendense_operator.chain.parent_choice import LayerPlan
from sendense_operator.task import BackupType, Removal
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images import layer_verification
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.storage import recovery
from sendense_operator.worker.storage.chain_folder import ChainFolder, mark_unfit, read_chain, set_marks
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.commit import no_step
from sendense_operator.worker.storage.durable_io import ensure_folder, open_regular
from sendense_operator.worker.storage.quarantine import quarantine
from sendense_operator.worker.storage.repository_marker import init_repository
from sendense_operator.worker.storage.tombstones import entomb, free_layers
from sendense_operator.worker.vma_job import attempt as attempts
from sendense_operator.worker.vma_job.attempt_exports import DiskExport, ExportSet
from sendense_operator.worker.vma_job.attempt_state import JobState
from sendense_operator.worker.vma_job.parent_proof import Parents

CHAIN = "shop/db"
NOW = datetime(2025, 10, 6, tzinfo=UTC)
Watch = Callable[[], list[str]]


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """From the call on, all flushes, renames and unlinks that do something, paths below the repository's root."""

    def start() -> list[str]:
        found: list[str] = []

        def name(path: Any) -> str:
            return str(Path(path).relative_to(tmp_path)) if Path(path).is_relative_to(tmp_path) else str(path)

        def flush(fd: int) -> None:
            flushed(fd)
            found.append(f"fsync {name(Path(f'/proc/self/fd/{fd}').readlink())}")

        def moving(real: Callable[..., None]) -> Callable[..., None]:
            def move(source: Any, target: Any, **more: Any) -> None:
                real(source, target, **more)
                found.append(f"rename {name(source)} -> {name(target)}")

            return move

        def unlink(path: Any, **more: Any) -> None:
            removed(path, **more)
            found.append(f"unlink {name(path)}")

        flushed, removed = os.fsync, os.unlink
        monkeypatch.setattr(os, "fsync", flush)
        monkeypatch.setattr(os, "rename", moving(os.rename))
        monkeypatch.setattr(os, "replace", moving(os.replace))
        monkeypatch.setattr(os, "unlink", unlink)
        return found

    return start


MANIFEST = f"{CHAIN}/backups/nightly.json"
STEM = "full-20251005-120000.qcow2"


def layers_renamed() -> list[str]:
    names = [f"{CHAIN}/disk-{disk}/{STEM}{end}" for disk in (0, 1) for end in ("", ".digests")]
    return [f"rename {name}.partial -> {name}" for name in names]


PUBLISHED = [
    *(f"fsync {CHAIN}/disk-{disk}" for disk in (0, 1)),
    f"rename {MANIFEST}.partial -> {MANIFEST}",
    f"fsync {CHAIN}/backups",
]


def test_a_commit(tmp_path: Path, watch: Watch) -> None:
    manifest = commits.make(tmp_path)
    found = watch()
    commits.run(tmp_path, manifest)
    assert found == [
        f"fsync {CHAIN}/.owner",
        f"fsync {CHAIN}",  # which holds backups now
        f"fsync {CHAIN}",  # and .tombstones
        f"fsync {MANIFEST}.partial",
        f"fsync {CHAIN}/backups",
        *layers_renamed(),
        *PUBLISHED,
    ]


def test_a_commit_that_is_carried_on(tmp_path: Path, watch: Watch) -> None:
    manifest = commits.make(tmp_path)
    with pytest.raises(CutShort):
        commits.run(tmp_path, manifest, 2)
    found = watch()
    recovery.finish_commits(tmp_path, PATHS, manifest.backup.uid)
    flushed = found[len(layers_renamed()) - 1 :]
    assert found[: len(layers_renamed()) - 1] == layers_renamed()[1:]
    assert (sorted(flushed[:2]), flushed[2:]) == (PUBLISHED[:2], PUBLISHED[2:])


def test_a_layer_and_its_digests(tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer is read back before, and both are flushed before anything names them."""
    manifest = point(1)
    file = PATHS.disk(0) / STEM
    partial = tmp_path / layout.partial(file)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"layer")

    async def digest(*_: Any) -> None:
        found.append("digest")

    monkeypatch.setattr(layer_verification, "write_digests", digest)
    examined = layer_verification.Examined(LayerMap(SIZE, CHUNK), BackupType.FULL, None)
    found = watch()
    sealed = asyncio.run(layer_verification.seal(tmp_path, file, 0, examined, None, ModeChoice(), tmp_path))
    assert found == ["digest", f"fsync {file}.partial", f"fsync {file}.digests.partial"]
    assert sealed.digest.list == f"{file}.digests"
    assert manifest.disks[0].digest.list.endswith(STEM.replace("120000", "120001") + ".digests")


class Server:
    """A qemu-nbd that ends."""

    def __init__(self, found: list[str]) -> None:
        self._found = found

    async def close(self, _: float) -> None:
        self._found.append("server closed")


def exported(tmp_path: Path, found: list[str]) -> ExportSet:
    one = task()
    made = ExportSet(one, settings(), tmp_path, PATHS, tmp_path)
    file = PATHS.disk(0) / STEM
    partial = tmp_path / layout.partial(file)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"layer")
    item = DiskExport(LayerPlan(one.disks[0], PATHS.disk(0)), file, 10809, "x", server=Server(found))  # type: ignore[arg-type]
    item.fsync_descriptor = open_regular(partial)
    made.disks.append(item)
    return made


def test_an_export_is_flushed_by_who_had_it_open_before(tmp_path: Path, watch: Watch) -> None:
    found = watch()
    made = exported(tmp_path, found)
    descriptor = made.disks[0].fsync_descriptor
    assert descriptor is not None
    asyncio.run(made.close())
    assert found == ["server closed", f"fsync {CHAIN}/disk-0/{STEM}.partial"]
    assert made.disks[0].fsync_descriptor is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_write_back_that_failed_ends_the_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = exported(tmp_path, [])
    descriptor = made.disks[0].fsync_descriptor

    def fails(fd: int) -> None:
        assert fd == descriptor
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(WorkerError) as caught:
        asyncio.run(made.close())
    assert caught.value.reason == Reason.STORAGE_ERROR


def test_a_removal(tmp_path: Path, watch: Watch) -> None:
    manifest = point(1)
    place = write_point(tmp_path, manifest)
    mark(tmp_path)
    found = watch()
    entomb(tmp_path, PATHS, Removal(vm="db", backup="b1", backup_uid=manifest.backup.uid))
    stone = f"{CHAIN}/.tombstones/b1.{manifest.backup.uid}.json"
    assert found == [
        f"fsync {CHAIN}",
        f"rename {place} -> {stone}",
        f"fsync {CHAIN}/.tombstones",
        f"unlink {place}.unfit",
        f"fsync {CHAIN}/backups",
    ]
    found.clear()
    free_layers(tmp_path, read_chain(tmp_path, PATHS))
    file = manifest.disks[0].file
    assert found == [
        f"unlink {file}",
        f"unlink {file}.digests",
        f"fsync {CHAIN}/disk-0",
        f"unlink {stone}",
        f"fsync {CHAIN}/.tombstones",
    ]


def mark(root: Path) -> None:
    (stored,) = read_chain(root, PATHS).points
    mark_unfit(root, stored, (mark_damage(stored.manifest, stored.manifest.disks[0], "x", NOW),))


def test_a_mark(tmp_path: Path, watch: Watch) -> None:
    place = f"{write_point(tmp_path, point(1))}.unfit"
    found = watch()
    mark(tmp_path)
    assert found == [f"fsync {place}.partial", f"rename {place}.partial -> {place}", f"fsync {CHAIN}/backups"]
    found.clear()
    set_marks(tmp_path, read_chain(tmp_path, PATHS).points[0], ())
    assert found == [f"unlink {place}", f"fsync {CHAIN}/backups"]


def test_what_is_put_aside(tmp_path: Path, watch: Watch) -> None:
    """Flushed where it is now before where it was: else it might be in neither place."""
    write_point(tmp_path, point(1))
    orphan = PATHS.disk(0) / "orphan"
    (tmp_path / orphan).write_bytes(b"x")
    found = watch()
    quarantine(tmp_path, PATHS, [orphan], NOW)
    aside = f"{CHAIN}/.quarantine/20251006-000000"
    assert found == [
        f"fsync {CHAIN}",
        f"fsync {CHAIN}/.quarantine",
        f"fsync {aside}",
        f"rename {orphan} -> {aside}/disk-0/orphan",
        f"fsync {aside}/disk-0",
        f"fsync {CHAIN}/disk-0",
    ]


def test_a_marker(tmp_path: Path, watch: Watch) -> None:
    found = watch()
    init_repository(tmp_path, UID, None)
    marker = layout.MARKER
    assert found == [f"fsync {marker}.partial", f"rename {marker}.partial -> {marker}", "fsync ."]


def test_each_folder_in_the_one_above(tmp_path: Path, watch: Watch) -> None:
    found = watch()
    ensure_folder(tmp_path / "a/b/c", tmp_path)
    assert found == ["fsync .", "fsync a", "fsync a/b"]
    ensure_folder(tmp_path / "a/b/c", tmp_path)
    assert len(found) == 3


@pytest.mark.parametrize("file", ["parent", "a link in its place"])
async def test_a_parent_that_went_away_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """The increment is worth nothing then: not a byte of it is committed."""
    full = point(1)
    write_point(tmp_path, full)
    lock = ChainLock.try_acquire(tmp_path / PATHS.lock, tmp_path, UID)
    assert lock is not None
    one = task()
    parents = Parents(tmp_path, PATHS, one, ChainFolder(PATHS), lock)
    attempt = attempts.Attempt(settings(), one, JobState(one, settings()), tmp_path, PATHS, lock, parents)
    layer = tmp_path / full.disks[0].file
    saved = layer.rename(layer.with_name("elsewhere"))
    if file != "parent":
        layer.symlink_to(saved)
    monkeypatch.setattr(attempts, "commit", lambda *_: pytest.fail("it was committed"))
    with lock, pytest.raises(WorkerError) as caught:
        await attempt.commit(increment(2, full), no_step)
    attempt.close()
    assert caught.value.reason == Reason.PARENT_GONE
    assert full.disks[0].file in caught.value.message
