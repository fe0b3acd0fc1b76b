"""Whose turn it is: gathers what the admission decides on."""

from __future__ import annotations

from typing import Any, Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.api.v1alpha1.names import last_path_element, vm_key
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec
from sendense_operator.cluster.client import find
from sendense_operator.cluster.kinds import APPLIANCE, BACKUP, BACKUP_REPOSITORY, CLAIM, JOB, PROTECTED_VM
from sendense_operator.reconcile.admission import Admitted, Candidate, Limits, Running, Waits, decide_admission
from sendense_operator.reconcile.case import Case
from sendense_operator.reconcile.claims import is_exclusive
from sendense_operator.reconcile.context import Context
from sendense_operator.reconcile.facts import Snapshot
from sendense_operator.reconcile.objects import (
    host_ports,
    is_deleting,
    is_live,
    labels_of,
    queue_order,
    ready_condition,
)
from sendense_operator.reconcile.references import References
from sendense_operator.task import Exposure

Obj = dict[str, Any]

QUEUED: Final = frozenset({"WaitingForSlot", "ChainBusy", "VMNameBusy"})
"""Reasons of Backups that have all they need but for their turn."""
MAX_AGE_S: Final = 1.0


async def admit(ctx: Context, case: Case, refs: References) -> Admitted | Waits:
    """Whether the Backup may start. To be called with `ctx.admission` held until its Job is made."""
    snapshot = await _snapshot(ctx, case.namespace)
    own = _candidate(
        case.namespace,
        case.name,
        case.spec.vm_ref.name,
        case.spec.repository_ref.name,
        refs.vm,
        refs.appliance,
        len(refs.found.disks),
        await _repository_slots(ctx, snapshot, case.namespace, refs.repository),
    )
    ahead = [await _of(ctx, snapshot, obj) for obj in _ahead(case.obj, snapshot.waiting)]
    return decide_admission(own, [other for other in ahead if other is not None], _running(snapshot.jobs))


def forget(ctx: Context) -> None:
    """A Job was made: what was read is out of date."""
    ctx.snapshots.clear()


async def _snapshot(ctx: Context, namespace: str) -> Snapshot:
    present = ctx.snapshots.get(namespace)
    if present is not None and ctx.monotonic() - present.taken < MAX_AGE_S:
        return present
    taken = ctx.monotonic()
    cluster = ctx.cluster
    jobs: list[Obj] = []
    # Of all namespaces: ports of the node are shared by all of them.
    for scope in ctx.settings.namespaces or (None,):
        selector = f"{names.LABEL_COMPONENT}={names.COMPONENT_WORKER}"
        jobs += await cluster.list_objects(JOB, scope, labels=selector)
    backups = await cluster.list_objects(BACKUP, namespace, fields=f"status.phase={Phase.PENDING.value}")
    snapshot = Snapshot(
        taken=taken,
        jobs=[job for job in jobs if is_live(job)],
        waiting=[obj for obj in backups if is_queued(obj)],
        vms=_by_name(await cluster.list_objects(PROTECTED_VM, namespace)),
        repositories=_by_name(await cluster.list_objects(BACKUP_REPOSITORY, namespace)),
        appliances=_by_name(await cluster.list_objects(APPLIANCE, namespace)),
    )
    ctx.snapshots[namespace] = snapshot
    return snapshot


def is_queued(obj: Obj) -> bool:
    """Whether a Backup waits for nothing but its turn."""
    ready = ready_condition(obj)
    asked_to_stop = bool(obj["spec"].get("cancel"))
    return ready is not None and ready["reason"] in QUEUED and not asked_to_stop and not is_deleting(obj)


def _by_name(objects: list[Obj]) -> dict[str, Obj]:
    return {obj["metadata"]["name"]: obj for obj in objects}


def _ahead(own: Obj, waiting: list[Obj]) -> list[Obj]:
    uid = own["metadata"]["uid"]
    everyone = queue_order([*(obj for obj in waiting if obj["metadata"]["uid"] != uid), own])
    return everyone[: next(i for i, obj in enumerate(everyone) if obj["metadata"]["uid"] == uid)]


async def _of(ctx: Context, snapshot: Snapshot, obj: Obj) -> Candidate | None:
    """The candidate that another waiting Backup is; None when something it needs has gone meanwhile."""
    spec = obj["spec"]
    vm = snapshot.vms.get(spec["vmRef"]["name"])
    repository = snapshot.repositories.get(spec["repositoryRef"]["name"])
    if vm is None or repository is None:
        return None
    vm_spec = ProtectedVMSpec.model_validate(vm["spec"])
    appliance = snapshot.appliances.get(vm_spec.appliance_ref.name)
    if appliance is None:
        return None
    namespace = obj["metadata"]["namespace"]
    repository_spec = BackupRepositorySpec.model_validate(repository["spec"])
    return _candidate(
        namespace,
        obj["metadata"]["name"],
        spec["vmRef"]["name"],
        spec["repositoryRef"]["name"],
        vm_spec,
        VMwareApplianceSpec.model_validate(appliance["spec"]),
        len((vm.get("status") or {}).get("disks") or []),
        await _repository_slots(ctx, snapshot, namespace, repository_spec),
    )


def _candidate(
    namespace: str,
    name: str,
    vm: str,
    repository: str,
    vm_spec: ProtectedVMSpec,
    appliance: VMwareApplianceSpec,
    disks: int,
    repository_slots: int,
) -> Candidate:
    ports = appliance.nbd.port_range
    return Candidate(
        namespace=namespace,
        name=name,
        vm=vm,
        vm_key=vm_key(last_path_element(vm_spec.path)),
        repository=repository,
        appliance=vm_spec.appliance_ref.name,
        disks=disks,
        limits=Limits(
            repository_slots=repository_slots,
            appliance_slots=appliance.max_concurrent_backups,
            port_range=(ports.first, ports.last) if appliance.nbd.exposure is Exposure.HOST_PORT else None,
        ),
    )


async def _repository_slots(ctx: Context, snapshot: Snapshot, namespace: str, repository: BackupRepositorySpec) -> int:
    claim_name = repository.claim_name
    if claim_name not in snapshot.exclusive:
        claim = await find(ctx.cluster, CLAIM, namespace, claim_name)
        snapshot.exclusive[claim_name] = claim is not None and is_exclusive(claim)
    return 1 if snapshot.exclusive[claim_name] else repository.max_concurrent_backups


def _running(jobs: list[Obj]) -> list[Running]:
    result = []
    for job in jobs:
        labels = labels_of(job)
        result.append(
            Running(
                namespace=job["metadata"]["namespace"],
                job=labels.get(names.LABEL_BACKUP, job["metadata"]["name"]),
                vm=labels.get(names.LABEL_VM, ""),
                vm_key=labels.get(names.LABEL_VM_KEY, ""),
                repository=labels.get(names.LABEL_REPOSITORY, ""),
                appliance=labels.get(names.LABEL_APPLIANCE, ""),
                ports=frozenset(host_ports(job)),
            )
        )
    return result
