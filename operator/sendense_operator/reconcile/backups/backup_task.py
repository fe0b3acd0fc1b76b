"""The tasks of workers, built from the resources."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backup import BackupSpec, RequestedType
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec, VMDisk
from sendense_operator.api.v1alpha1.vmwareappliance import CallbackRetries, VMwareApplianceSpec
from sendense_operator.reconcile.catalogue.immutable_points import immutability_of
from sendense_operator.reconcile.state.inventory_path import datacenter_of
from sendense_operator.task import (
    ApplianceTask,
    BackupTask,
    BackupType,
    Clocks,
    Compaction,
    Exposure,
    MissingParent,
    ParentCheck,
    TaskDisk,
)


def disk_ports(exposure: Exposure, count: int, given: Sequence[int]) -> list[int]:
    """Return the port that the appliance receives for each disk. `given`: the node's or the Service's ports."""
    if exposure is Exposure.POD_IP:
        return [names.NBD_BASE_PORT + index for index in range(count)]
    if len(given) != count:
        raise ValueError(f"{len(given)} ports for {count} disks")
    return list(given)


def build_backup_task(
    *,
    namespace: str,
    backup: str,
    uid: str,
    spec: BackupSpec,
    repository: BackupRepositorySpec,
    repository_id: str,
    vm: ProtectedVMSpec,
    disks: Sequence[VMDisk],
    appliance: VMwareApplianceSpec,
    ports: Sequence[int],
    parent_check: ParentCheck = ParentCheck.CONTENT,
    compaction: Compaction = Compaction.AUTO,
    adopt_only: bool = False,
    now: datetime,
) -> BackupTask:
    """Return the task of a Backup's worker; `adopt_only`: of one that looks for what a dead one may have committed.

    `now`: time by the API server's clock.
    """
    reported = disk_ports(appliance.nbd.exposure, len(disks), ports)
    return BackupTask(
        namespace=namespace,
        backup=backup,
        backup_uid=uid,
        vm=spec.vm_ref.name,
        repository_id=repository_id,
        repository_path=repository.path,
        folder=repository.folder,
        type=BackupType.FULL if spec.type is RequestedType.FULL else BackupType.INCREMENTAL,
        # Auto takes what it can get.
        on_missing_parent=MissingParent.FULL if spec.type is RequestedType.AUTO else spec.on_missing_parent,
        max_depth=repository.max_chain_depth,
        parent_check=parent_check,
        compaction=compaction,
        appliance=ApplianceTask(
            url=appliance.url,
            vcenter_host=appliance.vcenter.host,
            vm_path=vm.path,
            datacenter=datacenter_of(vm),
            zero_writes=appliance.traits.zero_writes.value,
            full_coverage=appliance.traits.full_coverage.value,
            change_id_asks=appliance.traits.change_id_asks.value,
            callback_retries=appliance.traits.callback_retries.value,
        ),
        exposure=appliance.nbd.exposure,
        allowed_from=tuple(appliance.nbd.allowed_from),
        advertised_host=appliance.nbd.advertised_host,
        disks=tuple(
            TaskDisk(index=disk.index, key=disk.key, virtual_size=disk.virtual_size, port=port)
            for disk, port in zip(disks, reported, strict=True)
        ),
        clocks=_clocks(appliance),
        min_free=repository.min_free_bytes,
        immutability=immutability_of(repository, now),
        adopt_only=adopt_only,
    )


def _clocks(appliance: VMwareApplianceSpec) -> Clocks:
    timeouts = appliance.timeouts
    # One that calls again may be silent for as long as it is without a gateway.
    repeats = appliance.traits.callback_retries is CallbackRetries.UNTIL_ANSWERED
    reconnect = max(timeouts.reconnect_seconds, timeouts.stall_seconds if repeats else 0)
    return Clocks(
        first_sign=timeouts.first_sign_seconds,
        first_sign_cbt=timeouts.first_sign_cbt_seconds,
        snapshot=timeouts.snapshot_seconds,
        connect=timeouts.connect_seconds,
        reconnect=reconnect,
        stall=timeouts.stall_seconds,
        stall_unhealthy=timeouts.stall_unhealthy_seconds,
        request=timeouts.request_seconds,
        cancel_increment=timeouts.cancel_seconds,
    )
