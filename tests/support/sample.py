"""Objects as the API server gives them, for tests that need no API server."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.objects import Obj

from sendense_operator.answer import Answer, Capacity, DiskAnswer
from sendense_operator.api.v1alpha1 import names
from sendense_operator.task import BackupType, DiskProgress, Progress, Stage

NAMESPACE = "shop"
NOON = datetime(2025, 10, 5, 12, tzinfo=UTC)
GIB = 1 << 30


def at(seconds: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def stamp(seconds: float = 0) -> str:
    """Return the same as Kubernetes writes it."""
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def uid_of(*parts: str) -> str:
    """Return a UID that is the same in each run."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, "/".join(parts)))


def metadata(kind: str, name: str, *, age: float = 0, **more: Any) -> Obj:
    """Metadata of an object made `age` seconds after noon."""
    return {
        "namespace": NAMESPACE,
        "name": name,
        "uid": uid_of(kind, name),
        "creationTimestamp": stamp(age),
        "generation": 1,
        "resourceVersion": "1",
        **more,
    }


def custom(kind: str, name: str, spec: Obj, status: Obj | None = None, **more: Any) -> Obj:
    """Return one of our own objects."""
    obj: Obj = {"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata(kind, name, **more), "spec": spec}
    return obj if status is None else {**obj, "status": status}


def ready_status(reason: str = "Fine", *, status: str = "True", message: str = "", **fields: Any) -> Obj:
    """Return a status with a Ready condition."""
    condition = {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": stamp(),
        "observedGeneration": 1,
    }
    return {"conditions": [condition], **fields}


def backup(name: str = "b1", status: Obj | None = None, *, vm: str = "db", age: float = 0, **spec: Any) -> Obj:
    """Return a Backup."""
    wanted = {"vmRef": {"name": vm}, "repositoryRef": {"name": "store"}, "type": "Full", **spec}
    return custom("Backup", name, wanted, status, age=age)


def protected_vm(name: str = "db", status: Obj | None = None, **spec: Any) -> Obj:
    """Return a ProtectedVM."""
    wanted = {"applianceRef": {"name": "vma"}, "path": f"/DC1/vm/{name}", **spec}
    return custom("ProtectedVM", name, wanted, status)


def repository(name: str = "store", status: Obj | None = None, **spec: Any) -> Obj:
    """Return a BackupRepository."""
    return custom("BackupRepository", name, {"claimName": f"{name}-claim", **spec}, status)


def appliance(name: str = "vma", status: Obj | None = None, **spec: Any) -> Obj:
    """Return a VMwareAppliance, reached by the pod's own address unless `spec` says otherwise."""
    wanted = {
        "url": "http://vma.example:8081",
        "vcenter": {"host": "vcenter.example", "credentialsSecretRef": {"name": "vcenter"}},
        "nbd": {"exposure": "PodIP"},
        **spec,
    }
    return custom("VMwareAppliance", name, wanted, status)


def claim(
    name: str = "store-claim",
    *,
    phase: str = "Bound",
    modes: tuple[str, ...] = ("ReadWriteOnce",),
    size: str = "",
    **more: Any,
) -> Obj:
    """Return a PersistentVolumeClaim; `more`: fields of its spec."""
    spec = {"accessModes": list(modes), "storageClassName": "slow", "volumeName": "pv-1", **more}
    status = {"phase": phase, **({"capacity": {"storage": size}} if size else {})}
    return {"metadata": metadata("PersistentVolumeClaim", name), "spec": spec, "status": status}


def restore(
    name: str = "r1", status: Obj | None = None, *, backup: str = "b1", claim: str = "", age: float = 0, **spec: Any
) -> Obj:
    """Return a Restore of a Backup with one disk, into `claim` if that is given."""
    target = {"target": {"persistentVolumeClaims": [{"disk": 0, "claimName": claim}]}} if claim else {}
    wanted = {"source": {"backupRef": {"name": backup}}, **target, **spec}
    return custom("Restore", name, wanted, status, age=age)


def vm_uuid(number: int) -> str:
    """Return a BIOS UUID that tells its number."""
    return f"4210c0de-0000-4000-8000-{number:012x}"


def deleting(obj: Obj) -> Obj:
    """Return an object that is being deleted."""
    return {**obj, "metadata": {**obj["metadata"], "deletionTimestamp": stamp()}}


def condition(kind: str, reason: str = "", message: str = "", *, seconds: float = 0, status: str = "True") -> Obj:
    """Return a condition of a Job, a pod or a node."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": stamp(seconds),
    }


def job(name: str = "j1", *conditions: Obj, labels: dict[str, str] | None = None, **fields: Any) -> Obj:
    """Return a Job, ended if one of `conditions` says so."""
    template: Obj = {"metadata": {}, "spec": {"containers": [{"name": "worker"}]}}
    return {
        "metadata": metadata("Job", name, labels=labels or {}),
        "spec": {"template": template, "backoffLimit": 2},
        "status": {"conditions": list(conditions), **fields},
    }


def pod(name: str = "p1", phase: str = "Running", *, age: float = 0, node: str | None = "n1", **status: Any) -> Obj:
    """Return a worker's pod."""
    spec = {"nodeName": node} if node else {}
    found = {"phase": phase, **({"podIP": "10.0.0.1"} if phase == "Running" else {}), **status}
    return {"metadata": metadata("Pod", name, age=age), "spec": spec, "status": found}


def ended(message: str = "", *, code: int = 0, reason: str = "Completed") -> list[Obj]:
    """Container statuses of a pod whose container ended."""
    return [{"name": "worker", "state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}}]


def completed_answer(*, adopted: bool = False, disks: int = 1) -> Answer:
    """Return what a worker answers that committed."""
    return Answer(
        outcome="Completed",
        job_id=names.vma_job_id(uid_of("Pod", "p1")),
        repository_id="repo-1",
        manifest="shop/db/backups/b1.json",
        disks=tuple(
            DiskAnswer(
                index=index,
                key=2000 + index,
                type=BackupType.FULL,
                file=f"shop/db/disk-{index}/full-20251005-120000.qcow2",
                virtual_size=GIB,
                stored_bytes=GIB // 4,
                guest_bytes=GIB // 8,
                received_bytes=GIB,
                change_id=f"52 de/{index}",
            )
            for index in range(disks)
        ),
        capacity=Capacity(total=100 * GIB, free=50 * GIB),
        started=NOON,
        finished=at(60),
        adopted=adopted,
    )


def failed_answer(reason: str = "WritesLost", message: str = "bytes are missing") -> Answer:
    """Return what a worker answers that failed."""
    return Answer(outcome="Failed", reason=reason, message=message)


def report(*received_bytes: int, stage: Stage = Stage.COPYING, virtual_size: int = GIB, rate: float = 1e6) -> Progress:
    """Return what a running worker says, with so many bytes of each disk."""
    disks = tuple(
        DiskProgress(index=i, virtual_size=virtual_size, received_bytes=count) for i, count in enumerate(received_bytes)
    )
    return Progress(job_id="backup-x", stage=stage, started=NOON, disks=disks, rate=rate, eta_seconds=60)
