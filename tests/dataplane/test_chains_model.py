"""Random lives of a chain of real images: whatever happens, what remains reads back as it was, and nothing else stays.

All goes through the functions of the worker. Crashes end a function at any of its steps.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Final

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.dataplane.qemuio import BLOCK, QemuIo, qemu_io
from tests.support.chains import PATHS, START, files, layer, point, uid_of
from tests.support.interruptions import CutShort, cut_at

from sendense_operator.api.v1alpha1.backupchain import KeepRule
from sendense_operator.catalogue_format import ChainRecord, ObstacleReason, PointRecord, TombstoneRecord, read_catalogue
from sendense_operator.chain import layout
from sendense_operator.chain.digests import digest
from sendense_operator.chain.immutability import ImmutabilityRule
from sendense_operator.chain.manifest import CHUNK, Digest, Manifest, ManifestDisk
from sendense_operator.chain.retention import DatedPoint, RetentionRules, rules_that_keep
from sendense_operator.consolidation_task import ConsolidationObstacle, ConsolidationTask
from sendense_operator.task import Immutability, ProbeTask, Removal
from sendense_operator.worker.consolidation.consolidation_run import run_consolidation
from sendense_operator.worker.consolidation.consolidation_state import ConsolidationState
from sendense_operator.worker.images import qemu_tools
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.maintenance.repository_maintenance import run_probe
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage import recovery
from sendense_operator.worker.storage.chain_folder import ChainFolder, read_chain
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.commit import commit
from sendense_operator.worker.storage.immutable_bit import release
from sendense_operator.worker.storage.tombstones import RetainedError, entomb, free_layers

SHARDS: Final = 4
"""Tests that run side by side."""
LIVES: Final = int(os.environ.get("SENDENSE_TEST_LIVES", "100"))
"""Random lives in each of them."""
EVENTS: Final = 30
"""In one life, at most."""

_POD: Final = uid_of(4711)
_UNDISTURBED: Final = 22
"""A chance by which nothing happens to a backup."""
_MERGE_STEPS: Final = 24
"""More than two merges have."""
_STEPS: Final = 16
"""More than any commit, removal or freeing here has: from there on nothing is cut short."""


def cut(number: int) -> Callable[[str], None]:
    """Cut short at a step, or not at all."""
    return cut_at(number) if number < _STEPS else lambda _: None


@dataclass
class Disk:
    """A disk of the VM as it is now."""

    key: int
    content: bytes
    """One byte for each block."""

    @property
    def virtual_size(self) -> int:
        return len(self.content) * BLOCK


@dataclass
class Life:
    """One chain, and what must be true of it."""

    root: Path
    io: QemuIo
    disks: list[Disk] = field(default_factory=lambda: [Disk(2000, bytes(256))])
    number: int = 0
    kept: dict[str, list[bytes]] = field(default_factory=dict)
    """Content of the disks of each restore point that must be there, by UID."""
    removing: dict[str, Removal] = field(default_factory=dict)
    """Removals that were cut short, and are asked for again."""
    now: datetime = START
    """Time by the API server's clock."""

    # what may happen

    def write(self, chance: int) -> None:
        disk = self.disks[chance % len(self.disks)]
        blocks = len(disk.content)
        start, count = chance * 7919 % blocks, (1, 1, 3, 16, 40, 200)[chance // 7 % 6]
        value = chance // 41 % 4  # zeroes too
        new = disk.content[:start] + bytes([value]) * count + disk.content[start + count :]
        disk.content = new[:blocks]

    def resize(self, chance: int) -> None:
        disk = self.disks[chance % len(self.disks)]
        disk.content += bytes(16 + chance % 16)

    def add_disk(self, chance: int) -> None:
        if len(self.disks) < 3:
            key = 2001 + self.number * 10 + chance % 10
            if key not in [disk.key for disk in self.disks]:
                self.disks.append(Disk(key, bytes([chance % 4]) * (256 + chance % 8)))

    def remove_disk(self, chance: int) -> None:
        if len(self.disks) > 1:
            self.disks.pop(chance % len(self.disks))

    def full(self, chance: int) -> None:
        self._backup(chance, wanted=0)

    def increment(self, chance: int) -> None:
        self._backup(chance, wanted=7)

    def mixed(self, chance: int) -> None:
        self._backup(chance, wanted=chance % 8)

    def delete(self, chance: int) -> None:
        """Any restore point, cut short or not."""
        points = read_chain(self.root, PATHS).points
        if points:
            self._remove(points[chance % len(points)].manifest, chance // 5 % 24)

    def expire(self, chance: int) -> None:
        """All restore points that no rule keeps, cut short or not."""
        manifests = [point.manifest for point in read_chain(self.root, PATHS).points]
        rules = RetentionRules(
            {KeepRule.LAST: 1 + chance % 3, KeepRule.HOURLY: 1 + chance // 3 % 3}, "", 1 + chance // 9 % 2, UTC
        )
        dated = [DatedPoint(manifest.backup.uid, manifest.started, True) for manifest in manifests]
        kept = rules_that_keep(dated, rules)
        for manifest in manifests:
            if not kept[manifest.backup.uid]:
                self._remove(manifest, chance // 5 % 24)

    def _remove(self, manifest: Manifest, steps: int) -> None:
        removal = _removal_of(manifest)
        try:
            entomb(self.root, PATHS, removal, cut(steps), self.rule)
        except RetainedError:
            assert self._is_immutable(manifest)
            return
        except CutShort:
            self.removing[removal.backup_uid] = removal
        assert not self._is_immutable(manifest)
        self.kept.pop(removal.backup_uid, None)

    def pass_time(self, chance: int) -> None:
        self.now += timedelta(days=1 + chance % 4)

    def demand(self, chance: int) -> None:
        """Somebody requests the removal of a restore point, although it is immutable."""
        points = [point.manifest for point in read_chain(self.root, PATHS).points]
        found = [manifest for manifest in points if self._is_immutable(manifest)]
        if found:
            self._probe(scan=bool(chance % 2), demanded=found[chance % len(found)])

    @property
    def rule(self) -> ImmutabilityRule:
        return ImmutabilityRule(self.now)

    def _is_immutable(self, manifest: Manifest) -> bool:
        return manifest.retain_until is not None and self.now < manifest.retain_until

    def free(self, chance: int) -> None:
        """Cut short or not."""
        with self._lock():
            self._free(cut(chance % 24))

    def consolidate(self, chance: int) -> None:
        """Mostly when a restore point has gone on which others depend; cut short or not."""
        while chance % 4 and len(self.kept) < 3:
            self.write(chance + self.number)
            self._backup(_UNDISTURBED, wanted=7)
        older = read_chain(self.root, PATHS).points[:-1]
        if older and chance % 4:
            self._remove(older[chance // 4 % len(older)].manifest, _STEPS)
        everything = chance % 3 > 0
        task = ConsolidationTask(
            namespace="shop",
            vm="db",
            chain="db",
            repository_id=uid_of(1),
            everything=everything,
            target_depth=2 + chance // 3 % 4,
            immutability=Immutability(now=self.now),
            min_free=0,
        )
        immutable = self._immutable_files()
        place = Settings(pod_uid=_POD, pod_ip="127.0.0.1", node_ip="", repository=self.root, switch_wait=0.0)
        state = ConsolidationState(task, place, Stopping())
        step = chance // 11 % (3 * _MERGE_STEPS)
        on_step = cut_at(step) if step < _MERGE_STEPS else lambda _: None
        try:
            answer = asyncio.run(run_consolidation(place, task, state, lambda _: None, on_step))
        except CutShort:
            return
        finally:
            assert self._immutable_files() == immutable
        assert answer.consolidated is not None
        assert answer.outcome == "Completed"
        assert answer.consolidated.left in ("", ConsolidationObstacle.RETAINED)
        if everything and not answer.consolidated.left:
            assert read_chain(self.root, PATHS).tombstones == ()
        self._assert_nothing_stays()

    def _immutable_files(self) -> dict[str, int]:
        """Return the inodes of manifests and layers of immutable restore points: nobody rewrites them."""
        points = [point for point in read_chain(self.root, PATHS).points if self._is_immutable(point.manifest)]
        names = {name for point in points for name in (*point.manifest.files(), str(point.place))}
        return {name: (self.root / name).stat().st_ino for name in names}

    def look(self, chance: int) -> None:
        self._probe(scan=bool(chance % 2))

    # how it happens

    def _lock(self) -> ChainLock:
        lock = ChainLock.try_acquire(self.root / PATHS.lock, self.root, _POD)
        assert lock is not None
        return lock

    def _free(self, on_step: Callable[[str], None]) -> None:
        try:
            free_layers(self.root, read_chain(self.root, PATHS), on_step, self.rule)
        except CutShort:
            return

    def _backup(self, chance: int, wanted: int) -> None:
        """`wanted`: a bit for each disk that is to be an increment; `chance`: where it ends, and how it goes on."""
        self.number += 1
        with self._lock() as lock:
            recovery.settle(self.root, PATHS, None)
            recovery.sweep(self.root, PATHS)
            assert not recovery.partials(self.root, PATHS)
            manifest = self._copy(read_chain(self.root, PATHS), wanted, is_killed=chance % 11 == 10)
            if manifest is None:
                return
            if chance % 3 == 0:
                until = self.now + timedelta(days=1 + chance // 3 % 9)
                manifest = manifest.model_copy(update={"retain_until": until})
            place = recovery.free_place(self.root, PATHS, manifest.backup.name, manifest.backup.uid)
            try:
                commit(self.root, place, manifest, lock, cut(chance % 23))
            except CutShort:
                if chance // 23 % 2:
                    recovery.finish_commits(self.root, PATHS, manifest.backup.uid)
            else:
                self._free(cut(chance // 29 % 24))
            if (self.root / place).exists():
                self.kept[manifest.backup.uid] = [disk.content for disk in self.disks]
                self._assert_point(manifest)

    def _copy(self, chain: ChainFolder, wanted: int, *, is_killed: bool) -> Manifest | None:
        """Return the layers as the appliance would write them; None: the worker was killed before the commit."""
        parent = chain.points[-1].manifest if chain.points else None
        described = list(self._plan(parent, wanted))
        for disk, planned in zip(self.disks, described, strict=True):
            path = self.root / layout.partial(PurePosixPath(planned.file))
            path.parent.mkdir(parents=True, exist_ok=True)
            below = PurePosixPath(planned.parent.file).name if planned.parent else None
            backing = ["-b", below, "-F", "qcow2"] if below else []
            subprocess.run(
                [
                    "qemu-img",
                    "create",
                    "-q",
                    "-f",
                    "qcow2",
                    "-o",
                    qemu_tools.CREATE_OPTIONS,
                    *backing,
                    path,
                    str(disk.virtual_size),
                ],
                check=True,
            )
            changed = [True] * len(disk.content)
            if parent is not None and planned.parent is not None:
                at = [item.key for item in parent.disks].index(disk.key)
                before = self.kept[parent.backup.uid][at]
                changed = [old != new for old, new in zip(before, disk.content, strict=True)]
            self.io.write(path, disk.content, changed)
            if is_killed:
                return None
            listing = self.root / layout.partial(layout.digests_of(PurePosixPath(planned.file)))
            listing.write_bytes(_digests(disk.content))
        described = [
            planned.model_copy(
                update={
                    "digest": Digest(root=blake3(_digests(disk.content)).hexdigest(), list=planned.digest.list),
                    "guest_bytes": 0,
                }
            )
            for disk, planned in zip(self.disks, described, strict=True)
        ]
        made = point(self.number, described, name=f"b{self.number % 7}")
        return made.model_copy(update={"sequence": chain.next_sequence})

    def _plan(self, parent: Manifest | None, wanted: int) -> Iterator[ManifestDisk]:
        """Yield an increment where one is wanted and fits; layers of two disks never share a folder."""
        places: dict[int, int] = {}
        if parent is not None and parent.backup.uid in self.kept:
            for at, old in enumerate(parent.disks):
                for index, disk in enumerate(self.disks):
                    if (old.key, old.virtual_size) == (disk.key, disk.virtual_size) and wanted >> index & 1:
                        places[index] = at
        used = set[str]()
        if parent is not None:
            used = {PurePosixPath(parent.disks[at].file).parent.name for at in places.values()}
        for index, disk in enumerate(self.disks):
            if parent is not None and index in places:
                yield layer(
                    self.number, index, parent=(parent, places[index]), virtual_size=disk.virtual_size, key=disk.key
                )
                continue
            folder = next(at for at in range(index, 99) if f"disk-{at}" not in used)
            used.add(f"disk-{folder}")
            yield layer(self.number, index, virtual_size=disk.virtual_size, key=disk.key, folder=folder)

    def _probe(self, *, scan: bool, demanded: Manifest | None = None) -> None:
        """As the controller asks for it; what it tells must be so. `demanded`: an immutable restore point to remove."""
        lines: list[str] = []
        task = ProbeTask(
            namespace="shop",
            repository="main",
            repository_uid=uid_of(1),
            remove=(*self.removing.values(), *([_removal_of(demanded)] if demanded is not None else [])),
            immutability=Immutability(now=self.now),
            scan=scan,
        )
        place = Settings(pod_uid=_POD, pod_ip="127.0.0.1", node_ip="", repository=self.root)
        answer = run_probe(place, task, lines.append)
        self.removing = {}
        self._assert_nothing_stays()
        if answer.catalogue is None or not (self.root / PATHS.folder).exists():
            return
        records = list(read_catalogue(lines, answer.catalogue))
        points = [record for record in records if isinstance(record, PointRecord)]
        assert {record.backup_uid for record in points} == self.kept.keys()
        assert [record.damage for record in points if record.damage] == []
        names = {record.backup for record in points}
        assert all(record.needed_by in names for record in records if isinstance(record, TombstoneRecord))
        (chain,) = [record for record in records if isinstance(record, ChainRecord)]
        refused = {obstacle.reason for obstacle in chain.obstacles}
        assert refused == ({ObstacleReason.RETAINED} if demanded is not None else set())
        assert chain == ChainRecord(vm=PATHS.vm, points=len(points), obstacles=chain.obstacles, message=chain.message)

    # what must hold

    def _assert_point(self, manifest: Manifest) -> None:
        contents = self.kept[manifest.backup.uid]
        for disk, content in zip(manifest.disks, contents, strict=True):
            assert disk.virtual_size == len(content) * BLOCK
            assert self.io.differs(self.root / disk.file, content) == ""

    def assert_points(self) -> None:
        """All that must be there reads as it was."""
        found = {item.manifest.backup.uid: item.manifest for item in read_chain(self.root, PATHS).points}
        assert self.kept.keys() <= found.keys() <= self.kept.keys() | self.removing.keys()
        for uid in self.kept:
            self._assert_point(found[uid])

    def _assert_nothing_stays(self) -> None:
        """Every file has an owner, every owner that was removed has a file which somebody needs."""
        chain = read_chain(self.root, PATHS)
        owned = {str(item.place) for item in chain.points + chain.tombstones}
        owned |= {name for item in chain.points + chain.tombstones for name in item.manifest.files()}
        assert files(self.root) <= owned
        disks = {disk.file: disk for item in chain.points + chain.tombstones for disk in item.manifest.disks}
        needed = set[str]()
        for item in chain.points:
            for disk in item.manifest.disks:
                at: ManifestDisk | None = disk
                while at is not None:
                    needed.add(at.file)
                    at = disks[at.parent.file] if at.parent else None
        for item in chain.tombstones:
            there = {disk.file for disk in item.manifest.disks if (self.root / disk.file).exists()}
            assert there
            assert there <= needed

    def end(self) -> None:
        """All restore points go, and nothing is left."""
        self._probe(scan=True)
        self.assert_points()
        self.now += timedelta(days=10)
        while self.kept:
            self.delete(4 * _STEPS * 5 + len(self.kept))
        self._probe(scan=False)
        assert files(self.root) == set()


def _digests(content: bytes) -> bytes:
    """Return the digest list of a disk with this content."""
    per_chunk = CHUNK // BLOCK
    chunks = (content[at : at + per_chunk] for at in range(0, len(content), per_chunk))
    return b"".join(digest(b"".join(bytes([value]) * BLOCK for value in chunk)) for chunk in chunks)


_CHANCES: Final = [
    *(["write"] * 5 + ["increment"] * 5 + ["delete"] * 3 + ["expire"]),
    *["consolidate", "consolidate", "mixed", "full", "free", "free", "look", "look"],
    *["resize", "add_disk", "remove_disk", "pass_time", "demand"],
]


@pytest.fixture(scope="module")
def io() -> Iterator[QemuIo]:
    with qemu_io() as running:
        yield running


@pytest.mark.timeout(900)
@pytest.mark.parametrize("shard", range(SHARDS))
@settings(
    max_examples=LIVES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(st.tuples(st.sampled_from(_CHANCES), st.integers(0, 10_000)), min_size=6, max_size=EVENTS))
def test_random_lives(
    io: QemuIo, tmp_path_factory: pytest.TempPathFactory, shard: int, events: list[tuple[str, int]]
) -> None:
    root = tmp_path_factory.mktemp(f"shard-{shard}")
    life = Life(root, io)
    try:
        life._probe(scan=True)
        for name, chance in events:
            getattr(life, name)(chance)
            if name not in ("write", "resize", "add_disk", "remove_disk"):
                life.assert_points()
        life.end()
    finally:
        _release_all(root)
        shutil.rmtree(root)


def _removal_of(manifest: Manifest) -> Removal:
    return Removal(vm=PATHS.vm, backup=manifest.backup.name, backup_uid=manifest.backup.uid)


def _release_all(root: Path) -> None:
    """Where this process may set the immutable bit, files of immutable restore points have it."""
    for path in root.rglob("*"):
        if path.is_file():
            release(path)
