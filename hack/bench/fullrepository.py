"""A repository of many restore points in an API server in memory: its pods answer at once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from hack.bench.memoryapi import MemoryApi
from tests.support import sample
from tests.support.objects import Obj

from sendense_operator.answer import Answer, Capacity, CatalogueSeal, DiskAnswer
from sendense_operator.catalogue_format import CatalogueWriter, ChainRecord, PointRecord, Record, RootRecord
from sendense_operator.cluster import kinds
from sendense_operator.cluster.kinds import Kind
from sendense_operator.reconcile.workload.worker_pod import probe_task_of
from sendense_operator.task import BackupType

_VMS: Final = 100
_DEPTH: Final = 10
_CAPACITY: Final = Capacity(total=1 << 46, free=1 << 45)


class FullRepository(MemoryApi):
    """One namespace with one BackupRepository; of its Jobs, each has a pod that has just ended well."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._completed: set[str] = set()

    @property
    def backups(self) -> int:
        """Backups that are there."""
        return sum(1 for kind, _, _ in self.objects if kind == "Backup")

    @property
    def completed(self) -> int:
        """Backups that ever were Completed."""
        return len(self._completed)

    def fill(self, count: int) -> None:
        """Make the repository, with `count` restore points and no Backups."""
        self._count = count
        self.put(kinds.NAMESPACE, {"metadata": {"name": sample.NAMESPACE, "uid": "ns"}})
        claim = {"metadata": sample.metadata("PersistentVolumeClaim", "store-claim"), "spec": {"volumeName": "pv"}}
        self.put(kinds.CLAIM, {**claim, "status": {"phase": "Bound"}})
        self.put(kinds.BACKUP_REPOSITORY, sample.repository())

    def terminate(self) -> None:
        """Delete the namespace, as far as Backups, chains and repositories are concerned."""
        self.terminating.add(sample.NAMESPACE)
        for kind in (kinds.BACKUP_REPOSITORY, kinds.BACKUP, kinds.BACKUP_CHAIN):
            for obj in self.peek(kind):
                self.begin_deletion(kind, obj)

    def changed(self, event: str, kind: Kind, obj: Obj) -> None:
        """See MemoryApi; a new Job runs."""
        if kind.kind == "Backup" and (obj.get("status") or {}).get("phase") == "Completed":
            self._completed.add(obj["metadata"]["uid"])
        if kind.kind == "Job" and event == "ADDED":
            asyncio.get_running_loop().call_soon(self._run, obj)
        super().changed(event, kind, obj)

    def _owned(self, uid: str) -> list[tuple[Kind, Obj]]:
        return []  # what belongs to another object is removed by nobody here: it costs nothing

    def _run(self, job: Obj) -> None:
        meta, task, lines = job["metadata"], probe_task_of(job), list[str]()
        seal: CatalogueSeal | None = None
        if task is not None and (task.scan or task.remove):
            writer = CatalogueWriter(lines.append)
            for record in self._records() if task.scan else ():
                writer.add(record)
            seal = writer.close()
        answer = Answer(outcome="Completed", repository_id="repo-1", capacity=_CAPACITY, catalogue=seal)
        name = f"{meta['name']}-1"
        pod = sample.pod(name, "Succeeded", containerStatuses=sample.ended(answer.to_message()))
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
        labels = {**job["spec"]["template"]["metadata"]["labels"], "job-name": meta["name"]}
        pod["metadata"] |= {"namespace": meta["namespace"], "labels": labels, "ownerReferences": [owner]}
        self.logs[name] = lines
        self.put(kinds.POD, pod)
        done = {"type": "Complete", "status": "True", "lastTransitionTime": self.clock.stamp()}
        self.put(kinds.JOB, {**job, "status": {"conditions": [done]}})

    def _records(self) -> Iterator[Record]:
        for number in range(self._count):
            yield _point(number)
        for number in range(min(_VMS, self._count)):
            yield ChainRecord(vm=f"vm{number}", points=self._count // _VMS)
        yield RootRecord()


def _point(number: int) -> PointRecord:
    """Return the number `number` of all: each VM has chains of a full and nine increments, of two disks."""
    vm, place = f"vm{number % _VMS}", number // _VMS
    uid = str(uuid.UUID(int=number + 1))
    at = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    increment = place % _DEPTH
    disks = tuple(
        DiskAnswer(
            index=index, key=2000 + index, type=BackupType.INCREMENTAL if increment else BackupType.FULL,
            file=f"{sample.NAMESPACE}/{vm}/disk-{index}/x-{place}.qcow2", virtual_size=1 << 40,
            stored_bytes=number << 20, guest_bytes=number << 19, received_bytes=number << 20,
            change_id=f"52 {uid}/{number}",
            parent=f"{vm}-{place - 1}" if increment else "", depth=1 + increment,
        )
        for index in range(2)
    )  # fmt: skip
    return PointRecord(
        vm=vm, backup=f"{vm}-{place}", backup_uid=uid, manifest=f"{sample.NAMESPACE}/{vm}/backups/{vm}-{place}.json",
        sequence=place + 1, started=at, finished=at, job_id=f"backup-{uid}", vm_name=vm.upper(), disks=disks,
    )  # fmt: skip
