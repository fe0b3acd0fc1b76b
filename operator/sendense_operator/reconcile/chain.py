"""BackupChain: the restore points of one VM in one repository, counted from the Completed Backups."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backup import BackupStatus, Phase
from sendense_operator.api.v1alpha1.backupchain import BackupChainSpec, BackupChainStatus, RestorePoint
from sendense_operator.api.v1alpha1.base import MAX_POINTS, Condition, LocalRef
from sendense_operator.cluster.client import Obj, find
from sendense_operator.cluster.errors import ForbiddenError
from sendense_operator.cluster.kinds import BACKUP, BACKUP_CHAIN
from sendense_operator.cluster.status import write_status
from sendense_operator.reconcile.context import Context
from sendense_operator.reconcile.naming import chain_name
from sendense_operator.reconcile.objects import is_deleting
from sendense_operator.reconcile.units import human_bytes
from sendense_operator.task import BackupType


async def reconcile_chain(ctx: Context, namespace: str, vm: str, repository: str) -> float | None:
    """Create the chain when there is a restore point, and keep its status."""
    name = chain_name(vm, repository)
    fields = f"spec.vmRef.name={vm},spec.repositoryRef.name={repository},status.phase={Phase.COMPLETED.value}"
    backups = [obj for obj in await ctx.cluster.list_objects(BACKUP, namespace, fields=fields) if not is_deleting(obj)]
    chain = await find(ctx.cluster, BACKUP_CHAIN, namespace, name)
    if chain is None:
        if not backups:
            return None
        spec = BackupChainSpec(vm_ref=LocalRef(name=vm), repository_ref=LocalRef(name=repository))
        try:
            chain = await ctx.cluster.apply(
                BACKUP_CHAIN,
                {"metadata": {"namespace": namespace, "name": name}, "spec": spec.to_dict()},
            )
        except ForbiddenError as error:
            if error.terminating:
                return None
            raise
    if not is_deleting(chain):
        old = BackupChainStatus.model_validate(chain.get("status") or {})
        status = chain_status(old, backups, generation=chain["metadata"].get("generation"), now=ctx.now())
        await write_status(ctx.cluster, BACKUP_CHAIN, chain, status)
    return None


def chain_status(
    old: BackupChainStatus, backups: Sequence[Obj], *, generation: int | None, now: datetime
) -> BackupChainStatus:
    """The status of a chain of these Completed Backups (any order)."""
    points: list[tuple[RestorePoint, int]] = []
    for obj in backups:
        status = BackupStatus.model_validate(obj.get("status") or {})
        if status.completion_time is None:
            continue
        point = RestorePoint(
            backup=obj["metadata"]["name"],
            time=status.completion_time,
            type=_type(status),
            stored_bytes=status.stored_bytes or 0,
        )
        points.append((point, sum(disk.virtual_size for disk in status.disks)))
    points.sort(key=lambda pair: (pair[0].time, pair[0].backup))
    stored = sum(point.stored_bytes for point, _ in points)
    if points:
        latest = points[-1][0]
        state = conditions.ready("Protected", f"{len(points)} restore points, the newest is {latest.backup}")
    else:
        latest = None
        state = conditions.reconciling("NoRestorePoints", "no restore point is left")
    updated = conditions.update([c.to_dict() for c in old.conditions], state, generation=generation, now=now)
    return BackupChainStatus(
        observed_generation=generation,
        conditions=[Condition.model_validate(condition) for condition in updated],
        points=len(points),
        latest_backup=latest.backup if latest else None,
        latest_time=latest.time if latest else None,
        stored_bytes=stored,
        stored=human_bytes(stored),
        virtual_bytes=points[-1][1] if points else 0,
        restore_points=[point for point, _ in points[-MAX_POINTS:]],
    )


def _type(status: BackupStatus) -> BackupType:
    """Incremental only when each disk is; one full disk makes no chain shorter, but the point is mixed."""
    kinds = {disk.type for disk in status.disks}
    return BackupType.INCREMENTAL if kinds == {BackupType.INCREMENTAL} else BackupType.FULL
