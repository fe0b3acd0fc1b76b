"""Checks before the VMA's job is started: the start call succeeds even if vCenter then refuses (vma-contract 6.4)."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sendense_operator.logs import get_logger
from sendense_operator.task import BackupTask, TaskDisk
from sendense_operator.vma.credentials import Credentials
from sendense_operator.vma.errors import VMAError, VMARefused, VMAUnreachable
from sendense_operator.vma.inventory import DiscoveredDisk, disks_of, find_vm
from sendense_operator.vma.messages import InventoryVM
from sendense_operator.vma.refusal_texts import reason_of_refusal
from sendense_operator.vma.vma_client import VMAClient
from sendense_operator.worker.errors import Reason, WorkerError

log = get_logger(__name__)

PAUSES: Final = (1.0, 2.0, 5.0, 10.0, 15.0)


@dataclass(frozen=True)
class Preflight:
    """Result of the preflight."""

    cbt_enabled: bool
    vm: InventoryVM


def appliance_error(error: VMAError) -> WorkerError:
    """Return the error that ends the attempt after a failed call to the VMA."""
    if isinstance(error, VMAUnreachable):
        return WorkerError(Reason.APPLIANCE_UNREACHABLE, str(error))
    return WorkerError(Reason.APPLIANCE_ERROR, str(error))


def decide_disks(wanted: Sequence[TaskDisk], found: Sequence[DiscoveredDisk]) -> str | None:
    """Return a message if the VM's disks differ from those of the task, else None."""
    want = [(disk.index, disk.key, disk.virtual_size) for disk in wanted]
    have = [(disk.index, disk.key, disk.virtual_size) for disk in found]
    if want == have:
        return None
    if len(want) != len(have):
        return f"the VM has {len(have)} disks now, but this backup was started for {len(want)}"
    before, now = next((old, new) for old, new in zip(want, have, strict=True) if old != new)
    return (
        f"disk {now[0]} of the VM now has key {now[1]} and {now[2]} bytes, but this backup was started for key "
        f"{before[1]} and {before[2]} bytes"
    )


async def preflight(
    vma: VMAClient,
    credentials: Credentials,
    task: BackupTask,
    report: Callable[[str], None] = lambda _: None,
    pauses: Sequence[float] = PAUSES,
) -> Preflight:
    """Check that the job can work, and return what vCenter reported. Raises WorkerError.

    While vCenter can't be reached, the check is repeated for up to `task.clocks.vcenter` seconds, and `report` receives
    a message. `pauses`: seconds between two tries, of which the last is repeated.
    """
    deadline = time.monotonic() + task.clocks.vcenter
    for pause in itertools.chain(pauses, itertools.repeat(pauses[-1])):
        try:
            return await _preflight(vma, credentials, task)
        except WorkerError as error:
            if error.reason != Reason.VCENTER_UNREACHABLE or time.monotonic() + pause > deadline:
                raise
            log.warning("vCenter can't be reached", retry_s=pause, error=error.message)
            report(f"vCenter can't be reached, retrying: {error.message}")
        await asyncio.sleep(pause)
    raise AssertionError("the pauses never end")


async def _preflight(vma: VMAClient, credentials: Credentials, task: BackupTask) -> Preflight:
    appliance = task.appliance
    try:
        cbt = await vma.cbt_status(credentials, appliance.vcenter_host, appliance.vm_path)
        inventory = await vma.discover(credentials, appliance.vcenter_host, appliance.datacenter)
        vm = find_vm(inventory, appliance.vm_path)
        if vm is None:
            raise WorkerError(Reason.VM_NOT_FOUND, "vCenter does not list the VM at the path of the ProtectedVM")
        different = decide_disks(task.disks, disks_of(vm))
    except VMARefused as error:
        refusal = reason_of_refusal(error.text, appliance.vm_path)
        raise WorkerError(refusal or Reason.APPLIANCE_ERROR, str(error)) from error
    except VMAError as error:
        raise appliance_error(error) from error
    if different is not None:
        raise WorkerError(Reason.DISKS_CHANGED, different)
    return Preflight(cbt.enabled, vm)
