"""Whose turn it is: gathers what the admission decides on, once for all that wait in a namespace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.api.v1alpha1.conditions import TERMINAL_PHASES
from sendense_operator.api.v1alpha1.names import last_path_element, vm_identity, vm_key
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import APPLIANCE, BACKUP, BACKUP_REPOSITORY, CLAIM, JOB, PROTECTED_VM
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.provenance import is_worker_job
from sendense_operator.reconcile.backups.admission_rules import decide_admission, decide_queue
from sendense_operator.reconcile.backups.backup_status import ObservedBackup
from sendense_operator.reconcile.backups.references import References
from sendense_operator.reconcile.catalogue.ownership import is_restored
from sendense_operator.reconcile.state.context import BackupContext, ReconcileContext
from sendense_operator.reconcile.state.keys import ChainKey
from sendense_operator.reconcile.state.kubernetes_objects import (
    QueuePlace,
    host_ports,
    in_no_phase_of,
    is_deleting,
    is_live,
    labels_of,
    queue_order,
    queue_place,
    ready_condition,
)
from sendense_operator.reconcile.state.queue_records import (
    AdmissionDecision,
    Candidate,
    Limits,
    QueuedBackup,
    QueueSnapshot,
    RunningJob,
    Waits,
)
from sendense_operator.reconcile.workload.claims import is_exclusive
from sendense_operator.task import Exposure

QUEUED: Final = frozenset({"WaitingForSlot", "ChainBusy", "VMBusy", "VMNameBusy"})
"""Reasons of Backups that have all they need but for their turn."""
MAX_AGE_S: Final = 1.0


@dataclass(frozen=True)
class _VM:
    """What the admission has to know of a ProtectedVM."""

    path: str
    appliance: str
    disks: int


@dataclass(frozen=True)
class _Objects:
    """What the Backups of a namespace refer to, by names."""

    vms: Mapping[str, _VM]
    repositories: Mapping[str, BackupRepositorySpec]
    appliances: Mapping[str, VMwareApplianceSpec]


async def admit(
    ctx: BackupContext, backup: ObservedBackup, refs: References
) -> tuple[QueueSnapshot, AdmissionDecision]:
    """Return whether the Backup may start, and what that was decided on.

    To be called with `ctx.admission` held until its Job is made.
    """
    snapshot = await _snapshot(ctx, backup.namespace)
    elder = snapshot.elder_of(backup.obj)
    if elder is not None:
        text = f"Backup {elder} of VM {backup.spec.vm_ref.name} was created first and has not started yet"
        return snapshot, Waits("ChainBusy", text)
    vm = _VM(refs.vm.path, refs.vm.appliance_ref.name, len(refs.found.disks))
    slots = await _repository_slots(ctx, snapshot, backup.namespace, refs.repository)
    own = _candidate(backup.obj, vm, refs.appliance, slots)
    queued = snapshot.queue.get(backup.uid)
    if queued is not None and queued.candidate == own:  # else: its VM has other disks by now, for example
        return snapshot, queued.verdict
    return snapshot, decide_admission(own, _ahead(backup.obj, snapshot), snapshot.running)


def is_current(ctx: BackupContext, namespace: str, snapshot: QueueSnapshot) -> bool:
    """Return whether nothing was heard of since that makes `snapshot` out of date."""
    return ctx.snapshots.get(namespace) is snapshot


def forget(ctx: BackupContext) -> None:
    """Drop what was read: a Job was made or ended."""
    ctx.snapshots.clear()


async def _snapshot(ctx: BackupContext, namespace: str) -> QueueSnapshot:
    present = ctx.snapshots.get(namespace)
    if present is not None and ctx.monotonic() - present.taken < MAX_AGE_S:
        return present
    taken = ctx.monotonic()
    running: list[RunningJob] = []
    # Of all namespaces: they share the ports of the nodes, and the VMs of the vCenters.
    for scope in ctx.settings.namespaces or (None,):
        selector = f"{names.LABEL_COMPONENT}={names.COMPONENT_WORKER}"
        running += await collect(ctx.cluster, JOB, scope, _running, labels=selector)
    unfinished = in_no_phase_of({*TERMINAL_PHASES, Phase.RUNNING})
    waiting = await collect(ctx.cluster, BACKUP, namespace, _waiting, fields=unfinished)
    snapshot = QueueSnapshot(taken, running, elders=first_of_chains(elder for elder, _ in waiting if elder is not None))
    snapshot.queue = await _queue(ctx, snapshot, namespace, [obj for _, obj in waiting if obj is not None])
    ctx.snapshots[namespace] = snapshot
    return snapshot


async def _queue(
    ctx: ReconcileContext, snapshot: QueueSnapshot, namespace: str, waiting: list[Obj]
) -> dict[str, QueuedBackup]:
    """Return all that are `waiting` for their turn, the first one first, with what is decided for each."""
    objects = await _objects(ctx, namespace)
    candidates: list[tuple[Obj, Candidate]] = []
    for obj in queue_order(waiting):
        if snapshot.elder_of(obj) is not None:
            continue  # it does not start before that one, whatever it is that waits for
        candidate = await _of(ctx, snapshot, objects, obj)
        if candidate is not None:
            candidates.append((obj, candidate))
    verdicts = decide_queue((candidate for _, candidate in candidates), snapshot.running)
    return {
        obj["metadata"]["uid"]: QueuedBackup(queue_place(obj), candidate, verdict)
        for (obj, candidate), verdict in zip(candidates, verdicts, strict=True)
    }


def _waiting(obj: Obj) -> tuple[tuple[ChainKey, QueuePlace] | None, Obj | None] | None:
    """Of an unfinished Backup: `_elder` of it, and the object if it waits for its turn; None when it is neither."""
    elder, queued = _elder(obj), obj if is_queued(obj) else None
    return None if elder is None and queued is None else (elder, queued)


def _elder(obj: Obj) -> tuple[ChainKey, QueuePlace] | None:
    """Of a Backup that is to run and has no worker yet: its chain and its place."""
    status = obj.get("status") or {}
    if status.get("workerJob") or obj["spec"].get("cancel") or obj["spec"].get("adopt") or is_deleting(obj):
        return None
    return (ChainKey.of(obj), queue_place(obj)) if not is_restored(obj) else None


def first_of_chains(waiting: Iterable[tuple[ChainKey, QueuePlace]]) -> dict[ChainKey, QueuePlace]:
    """Return the place of the first Backup of each chain."""
    first: dict[ChainKey, QueuePlace] = {}
    for chain, place in waiting:
        first[chain] = min(place, first.get(chain, place))
    return first


def is_queued(obj: Obj) -> bool:
    """Return whether a Backup waits for nothing but its turn."""
    ready = ready_condition(obj)
    asked_to_stop = bool(obj["spec"].get("cancel"))
    return ready is not None and ready["reason"] in QUEUED and not asked_to_stop and not is_deleting(obj)


async def _objects(ctx: ReconcileContext, namespace: str) -> _Objects:
    cluster = ctx.cluster
    return _Objects(
        vms=dict(await collect(cluster, PROTECTED_VM, namespace, lambda obj: (_name(obj), _vm(obj)))),
        repositories={
            _name(obj): BackupRepositorySpec.model_validate(obj["spec"])
            for obj in await cluster.list_objects(BACKUP_REPOSITORY, namespace)
        },
        appliances={
            _name(obj): VMwareApplianceSpec.model_validate(obj["spec"])
            for obj in await cluster.list_objects(APPLIANCE, namespace)
        },
    )


def _name(obj: Obj) -> str:
    return str(obj["metadata"]["name"])


def _vm(obj: Obj) -> _VM:
    spec = obj["spec"]
    return _VM(spec["path"], spec["applianceRef"]["name"], len((obj.get("status") or {}).get("disks") or ()))


def _ahead(own: Obj, snapshot: QueueSnapshot) -> list[Candidate]:
    place = queue_place(own)
    return [queued.candidate for queued in snapshot.queue.values() if queued.place < place]


async def _of(ctx: ReconcileContext, snapshot: QueueSnapshot, objects: _Objects, obj: Obj) -> Candidate | None:
    """Return the candidate that a waiting Backup is; None when something it needs has gone meanwhile."""
    spec = obj["spec"]
    vm = objects.vms.get(spec["vmRef"]["name"])
    repository = objects.repositories.get(spec["repositoryRef"]["name"])
    appliance = objects.appliances.get(vm.appliance) if vm is not None else None
    if vm is None or repository is None or appliance is None:
        return None
    slots = await _repository_slots(ctx, snapshot, obj["metadata"]["namespace"], repository)
    return _candidate(obj, vm, appliance, slots)


def _candidate(obj: Obj, vm: _VM, appliance: VMwareApplianceSpec, repository_slots: int) -> Candidate:
    ports, spec = appliance.nbd.port_range, obj["spec"]
    return Candidate(
        namespace=obj["metadata"]["namespace"],
        name=obj["metadata"]["name"],
        vm=spec["vmRef"]["name"],
        vm_key=vm_key(last_path_element(vm.path)),
        repository=spec["repositoryRef"]["name"],
        appliance=vm.appliance,
        disks=vm.disks,
        limits=Limits(
            repository_slots=repository_slots,
            appliance_slots=appliance.max_concurrent_backups,
            port_range=(ports.first, ports.last) if appliance.nbd.exposure is Exposure.HOST_PORT else None,
        ),
        vm_identity=vm_identity(appliance.vcenter.host, vm.path),
    )


async def _repository_slots(
    ctx: ReconcileContext, snapshot: QueueSnapshot, namespace: str, repository: BackupRepositorySpec
) -> int:
    claim_name = repository.claim_name
    if claim_name not in snapshot.exclusive:
        claim = await find(ctx.cluster, CLAIM, namespace, claim_name)
        snapshot.exclusive[claim_name] = claim is not None and is_exclusive(claim)
    return 1 if snapshot.exclusive[claim_name] else repository.max_concurrent_backups


def _running(job: Obj) -> RunningJob | None:
    """Return a worker's Job as the admission sees it; None when it has ended or is not the operator's."""
    if not is_live(job) or not is_worker_job(job):
        return None
    labels = labels_of(job)
    return RunningJob(
        namespace=job["metadata"]["namespace"],
        job=labels.get(names.LABEL_BACKUP, job["metadata"]["name"]),
        vm=labels.get(names.LABEL_VM, ""),
        vm_key=labels.get(names.LABEL_VM_KEY, ""),
        repository=labels.get(names.LABEL_REPOSITORY, ""),
        appliance=labels.get(names.LABEL_APPLIANCE, ""),
        ports=frozenset(host_ports(job)),
        vm_identity=labels.get(names.LABEL_VM_IDENTITY, ""),
    )
