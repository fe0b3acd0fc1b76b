"""A repository in memory: what workers commit to it, and what a pod that looks after it removes, frees and tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sendense_operator.answer import Answer, DiskAnswer
from sendense_operator.catalogue_format import (
    CatalogueWriter,
    ChainRecord,
    Obstacle,
    PointRecord,
    Record,
    RootRecord,
    TombstoneRecord,
)
from sendense_operator.chain.immutability import until_of_commit
from sendense_operator.chain.immutable_window import retained_until
from sendense_operator.task import (
    ApplianceTask,
    BackupTask,
    BackupType,
    Exposure,
    FullReason,
    MissingParent,
    ProbeTask,
    TaskDisk,
)
from sendense_operator.vm_hardware import Hardware

STORED = 256 << 20
"""Bytes of a full's layer; an increment has an eighth of it."""
Layer = tuple[str, int]
"""UID of a restore point, device key of its disk."""


@dataclass
class StoredPoint:
    """A manifest, live or removed, with the layers that are still there."""

    vm: str
    backup: str
    uid: str
    sequence: int
    finished: datetime
    job_id: str
    manifest: str
    layers: dict[int, DiskAnswer]
    """By device key."""
    parents: dict[int, str] = field(default_factory=dict)
    """UID of the point that a disk depends on, by device key."""
    damage: str = ""
    full_next: str = ""
    retain_until: datetime | None = None
    hardware: Hardware | None = None

    def is_retained(self, task: ProbeTask) -> bool:
        """Return whether a pod with this task finds it immutable."""
        rule = task.immutability
        until = retained_until(self.finished, self.retain_until, rule.days if rule else None)
        return until is not None and (rule is None or rule.now < until)

    def record(self) -> PointRecord:
        """As a pod tells of it."""
        return PointRecord(
            vm=self.vm,
            backup=self.backup,
            backup_uid=self.uid,
            manifest=self.manifest,
            sequence=self.sequence,
            started=self.finished,
            finished=self.finished,
            job_id=self.job_id,
            vm_name=self.vm,
            disks=tuple(self.layers.values()),
            damage=self.damage,
            full_next=self.full_next,
            retain_until=self.retain_until,
            hardware=self.hardware,
        )


@dataclass
class StoredChain:
    """The folder of one VM."""

    points: dict[str, StoredPoint] = field(default_factory=dict)
    """By UID, the oldest first."""
    tombstones: dict[str, StoredPoint] = field(default_factory=dict)
    complete: bool = True
    """False: its folder can't be listed to the end."""
    newer: set[str] = field(default_factory=set)
    """UIDs of points whose manifests this version can't read."""
    obstacles: tuple[Obstacle, ...] = ()
    """What stops freeing."""

    @property
    def newest(self) -> StoredPoint | None:
        """The parent of the next increment."""
        return max(self.points.values(), key=lambda point: point.sequence, default=None)

    def next_sequence(self) -> int:
        """Of the next restore point."""
        everything = [*self.points.values(), *self.tombstones.values()]
        return 1 + max((point.sequence for point in everything), default=0)

    def reached_from(self, point: StoredPoint) -> Iterator[Layer]:
        """Yield all layers that have to be read for a restore point. KeyError: one of them is not there."""
        everything = {**self.tombstones, **self.points}
        for key in point.layers:
            here = point
            while True:
                if key not in here.layers:
                    raise KeyError(f"{point.backup} needs disk {key} of {here.backup}")
                yield here.uid, key
                if key not in here.parents:
                    break
                here = everything[here.parents[key]]

    def free(self) -> None:
        """Let the layers of tombstones go that nothing reaches any more."""
        if self.newer:
            return
        needed = {layer for point in self.points.values() for layer in self.reached_from(point)}
        for uid, stone in list(self.tombstones.items()):
            stone.layers = {key: disk for key, disk in stone.layers.items() if (uid, key) in needed}
            if not stone.layers:
                del self.tombstones[uid]

    def records(self, vm: str, *, busy: bool) -> Iterator[Record]:
        """Yield what a pod tells; `busy`: while a worker has its lock."""
        readable = [point for point in self.points.values() if point.uid not in self.newer]
        for point in readable:
            yield point.record()
        for stone in self.tombstones.values():
            above = [point.backup for point in readable if stone.uid in {uid for uid, _ in self.reached_from(point)}]
            yield TombstoneRecord(
                vm=vm,
                backup=stone.backup,
                backup_uid=stone.uid,
                stored_bytes=sum(disk.stored_bytes for disk in stone.layers.values()),
                needed_by=above[0] if above else "",
            )
        yield ChainRecord(
            vm=vm,
            complete=self.complete,
            busy=busy,
            points=len(readable),
            newer=len(self.newer),
            obstacles=self.obstacles,
        )


class RepositoryWorld:
    """All chains of one volume."""

    def __init__(self) -> None:
        self.chains: dict[tuple[str, str], StoredChain] = {}
        """By folder and VM."""
        self.hardware: Hardware | None = None
        """What the appliance reports of the VMs that are backed up from now on."""
        self._parents: dict[str, StoredPoint | None] = {}
        """By UID of a Backup whose worker runs: what it depends on, whatever becomes of that meanwhile."""
        self.removals = 0
        """Restore points that became tombstones."""
        self.refused = 0
        """Removals of immutable restore points."""

    def chain(self, vm: str = "db", folder: str = "shop") -> StoredChain:
        """Return the chain of a VM."""
        return self.chains.setdefault((folder, vm), StoredChain())

    def points(self) -> dict[str, StoredPoint]:
        """Return all restore points by UID."""
        return {uid: point for chain in self.chains.values() for uid, point in chain.points.items()}

    def names(self) -> list[str]:
        """Return the names of all restore points, the oldest first."""
        return [point.backup for point in sorted(self.points().values(), key=lambda point: point.sequence)]

    def waiting(self) -> list[str]:
        """Return the names of all tombstones."""
        return sorted(stone.backup for chain in self.chains.values() for stone in chain.tombstones.values())

    def check(self) -> None:
        """Raise KeyError when a layer is missing that a restore point needs."""
        for chain in self.chains.values():
            for point in chain.points.values():
                list(chain.reached_from(point))

    # What a worker does.

    def begin(self, task: BackupTask) -> None:
        """A worker has the chain's lock, and chooses its parent."""
        chain = self.chain(task.vm, task.folder or task.namespace)
        self._parents[task.backup_uid] = chain.newest if task.type is BackupType.INCREMENTAL else None

    def commit(self, task: BackupTask, job_id: str, now: datetime) -> Answer:
        """Return what a worker answers that ran to its end: committed, or failed for want of a parent."""
        chain = self.chain(task.vm, task.folder or task.namespace)
        parent = self._parents[task.backup_uid]
        point = StoredPoint(
            vm=task.vm,
            backup=task.backup,
            uid=task.backup_uid,
            sequence=chain.next_sequence(),
            finished=now,
            job_id=job_id,
            manifest=f"{task.folder or task.namespace}/{task.vm}/backups/{task.backup}.json",
            layers={},
            retain_until=until_of_commit(task.immutability, timedelta(0), now),
            hardware=self.hardware,
        )
        for disk in task.disks:
            reason = _against(disk, parent, task)
            if reason and task.on_missing_parent is MissingParent.FAIL:
                return Answer(outcome="Failed", reason=reason, message=f"disk {disk.index} can't be an increment")
            _add_layer(point, disk, None if reason else parent, reason)
        chain.points[point.uid] = point
        chain.free()
        return self.answer(point.uid)

    def commit_unheard(self, backup: str, uid: str, finished: datetime) -> None:
        """A full of VM `db` that no controller here heard of: of another cluster, or of a lost worker."""
        task = BackupTask(
            namespace="shop",
            backup=backup,
            backup_uid=uid,
            vm="db",
            repository_id="repo-1",
            type=BackupType.FULL,
            appliance=ApplianceTask(url="http://vma", vcenter_host="vcenter", vm_path="/DC1/vm/db", datacenter="DC1"),
            exposure=Exposure.POD_IP,
            disks=(TaskDisk(index=0, key=2000, virtual_size=1 << 30, port=10809),),
        )
        self.begin(task)
        self.commit(task, f"backup-{backup}", finished)

    def answer(self, uid: str, *, adopted: bool = False) -> Answer:
        """Return what a worker answers of a restore point that is there."""
        point = self.points()[uid]
        return Answer(
            outcome="Completed",
            job_id=point.job_id,
            repository_id="repo-1",
            manifest=point.manifest,
            retain_until=point.retain_until,
            disks=tuple(point.layers.values()),
            hardware=point.hardware,
            started=point.finished,
            finished=point.finished,
            adopted=adopted,
        )

    # What a pod does that looks after the repository.

    def look(self, task: ProbeTask, answer: Answer, busy: frozenset[str]) -> tuple[Answer, list[str]]:
        """`answer` with the seal of what depends on its log, and that log. `busy`: VMs that a worker writes to."""
        folder = task.folder or task.namespace
        for removal in task.remove:
            chain = self.chain(removal.vm, folder)
            there = chain.points.get(removal.backup_uid)
            if there is not None and there.is_retained(task):
                self.refused += 1
                continue
            if removal.backup_uid in chain.newer:
                continue
            if point := chain.points.pop(removal.backup_uid, None):
                chain.tombstones[point.uid] = point
                self.removals += 1
        asked = {removal.vm for removal in task.remove}
        log: list[str] = []
        writer = CatalogueWriter(log.append)
        for (where, vm), chain in self.chains.items():
            if where != folder:
                continue
            if vm not in busy:
                chain.free()
            if task.scan or vm in asked:
                for record in chain.records(vm, busy=vm in busy):
                    writer.add(record)
        if task.scan:
            others = tuple(sorted({where for where, _ in self.chains} - {folder}))
            writer.add(RootRecord(other_folders=others))
        if not (task.scan or task.remove):
            return answer, []
        return answer.model_copy(update={"catalogue": writer.close()}), ["a line of the pod", *log]


def _against(disk: TaskDisk, parent: StoredPoint | None, task: BackupTask) -> str:
    """Return why a disk is copied whole although an increment is wanted; empty: it is one, or a full was asked for."""
    if task.type is BackupType.FULL:
        return ""
    if parent is None:
        return FullReason.NO_PARENT
    if parent.damage:
        return FullReason.PARENT_UNVERIFIED
    if parent.full_next:
        return parent.full_next
    below = parent.layers.get(disk.key)
    if below is None:
        return FullReason.NEW_DISK
    if below.virtual_size != disk.virtual_size:
        return FullReason.DISK_RESIZED
    return FullReason.CHAIN_TOO_LONG if below.depth >= task.max_depth else ""


def _add_layer(point: StoredPoint, disk: TaskDisk, parent: StoredPoint | None, reason: str) -> None:
    below = parent.layers[disk.key] if parent is not None else None
    kind = BackupType.FULL if below is None else BackupType.INCREMENTAL
    stem = "full" if below is None else "incr"
    point.layers[disk.key] = DiskAnswer(
        index=disk.index,
        key=disk.key,
        type=kind,
        file=f"shop/{point.vm}/disk-{disk.index}/{stem}-20251005-12{point.sequence:04}.qcow2",
        virtual_size=disk.virtual_size,
        stored_bytes=STORED if below is None else STORED // 8,
        guest_bytes=STORED // 2 if below is None else STORED // 16,
        received_bytes=disk.virtual_size if below is None else disk.virtual_size // 10,
        change_id=f"52 {point.backup}/{disk.index}",
        reason=reason,
        parent=parent.backup if parent is not None else "",
        parent_change_id=below.change_id if below is not None else "",
        depth=1 if below is None else below.depth + 1,
    )
    if parent is not None:
        point.parents[disk.key] = parent.uid
