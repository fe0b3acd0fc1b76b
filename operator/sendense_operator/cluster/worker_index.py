"""Which worker pods there are: an index in memory, fed by the watch of pods.py. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.containers import has_worker_ended, is_worker_running
from sendense_operator.cluster.provenance import is_worker_pod


@dataclass(frozen=True, slots=True)
class Worker:
    """The few fields of a worker's pod that are kept."""

    namespace: str
    pod_name: str
    uid: str
    job_uid: str
    """UID of the owning Job, empty if it has none."""
    backup: str
    """Name of the Backup."""
    appliance: str
    vm_key: str
    ip: str
    """Empty until the pod has one."""
    created: str
    """RFC 3339 in UTC, so it sorts as text."""
    running: bool
    ended: bool
    """Its container will never answer again."""
    terminating: bool
    genuine: bool
    """Whether the Job of a Backup made it; labels alone prove nothing (see `provenance`)."""

    @classmethod
    def from_pod(cls, pod: Mapping[str, Any]) -> Self:
        """From a Pod as the API server sends it. Raises KeyError without name, namespace or UID."""
        meta = pod["metadata"]
        labels = meta.get("labels") or {}
        status = pod.get("status") or {}
        owners = [owner for owner in meta.get("ownerReferences") or () if owner.get("controller")]
        return cls(
            namespace=meta["namespace"],
            pod_name=meta["name"],
            uid=meta["uid"],
            job_uid=owners[0].get("uid", "") if owners else "",
            backup=labels.get(names.LABEL_BACKUP, ""),
            appliance=labels.get(names.LABEL_APPLIANCE, ""),
            vm_key=labels.get(names.LABEL_VM_KEY, ""),
            ip=status.get("podIP") or "",
            created=meta.get("creationTimestamp") or "",
            running=is_worker_running(pod) and bool(status.get("podIP")),
            ended=has_worker_ended(pod),
            terminating=meta.get("deletionTimestamp") is not None,
            genuine=is_worker_pod(pod),
        )


class WorkerIndex:
    """Workers by pod UID and by VM. Keeps genuine ones only: a callback must not reach a foreign pod."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}

    def __len__(self) -> int:
        return len(self._workers)

    def put(self, worker: Worker) -> bool:
        """Add or replace one. Returns whether anything changed."""
        if not worker.genuine:
            return self.remove(worker.uid)
        if self._workers.get(worker.uid) == worker:
            return False
        self._workers[worker.uid] = worker
        return True

    def remove(self, uid: str) -> bool:
        """Forget one. Returns whether it was there."""
        return self._workers.pop(uid, None) is not None

    def replace(self, workers: Iterable[Worker], namespace: str | None) -> None:
        """Take a fresh list of one namespace, or (None) of all."""
        kept = {
            uid: worker
            for uid, worker in self._workers.items()
            if namespace is not None and worker.namespace != namespace
        }
        self._workers = kept | {worker.uid: worker for worker in workers if worker.genuine}

    def find_by_pod_uid(self, namespace: str, appliance: str, uid: str) -> Worker | None:
        """Return the worker with that pod UID if it belongs to the appliance; it may be terminating or ended."""
        worker = self._workers.get(uid)
        if worker is None or (worker.namespace, worker.appliance) != (namespace, appliance):
            return None
        return worker

    def find_owner(self, uid: str, vm_key: str, namespace: str) -> Worker | None:
        """Return the worker that a call is meant for, whichever appliance it belongs to: by pod UID, else by VM.

        VMs of one name may be anywhere: those in the `namespace` of the call's path come first.
        """
        if uid:
            return self._workers.get(uid)
        found = [one for one in self._workers.values() if one.vm_key == vm_key and one.running and not one.ended]
        return max(found, key=lambda worker: (worker.namespace == namespace, _preference(worker)), default=None)

    def find_by_vm(self, namespace: str, appliance: str, vm_key: str) -> Worker | None:
        """Return the worker that copies a VM now.

        A running one comes first, then a terminating one (it knows that its job is over), then one that only
        comes up: nothing has been started for that one yet, so the VMA can't mean it. The newest of its sort.
        """
        found = [
            worker
            for worker in self._workers.values()
            if not worker.ended
            and (worker.namespace, worker.appliance, worker.vm_key) == (namespace, appliance, vm_key)
        ]
        return max(found, key=_preference, default=None)


def _preference(worker: Worker) -> tuple[bool, bool, str, str]:
    return worker.running, not worker.terminating, worker.created, worker.uid
