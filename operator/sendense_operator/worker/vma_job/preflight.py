"""What the VMA's start call would swallow: asked beforehand, answered in vCenter's own words."""

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
    """What was found."""

    cbt_enabled: bool
    vm: InventoryVM


def appliance_error(error: VMAError) -> WorkerError:
    """Return an error of the VMA's client as the end of the attempt."""
    if isinstance(error, VMAUnreachable):
        return WorkerError(Reason.APPLIANCE_UNREACHABLE, str(error))
    return WorkerError(Reason.APPLIANCE_ERROR, str(error))


def decide_disks(wanted: Sequence[TaskDisk], found: Sequence[DiscoveredDisk]) -> str | None:
    """Return how the VM's disks differ from those of the task, None when they don't."""
    want = [(disk.index, disk.key, disk.virtual_size) for disk in wanted]
    have = [(disk.index, disk.key, disk.virtual_size) for disk in found]
    if want == have:
        return None
    if len(want) != len(have):
        return f"the VM has {len(have)} disks now, this backup was made for {len(want)}"
    index, key, virtual_size = next(there for here, there in zip(want, have, strict=True) if here != there)
    now = f"key {key} with {virtual_size} bytes"
    return f"disk {index} of the VM is now {now}, which is not what this backup was made for"


async def preflight(
    vma: VMAClient,
    credentials: Credentials,
    task: BackupTask,
    tell: Callable[[str], None] = lambda _: None,
    pauses: Sequence[float] = PAUSES,
) -> Preflight:
    """Raise WorkerError when the job could not work.

    A vCenter that is away is asked again for up to `task.clocks.vcenter` seconds; `tell` hears what is waited for.
    The last of `pauses` (seconds between two attempts) is repeated.
    """
    deadline = time.monotonic() + task.clocks.vcenter
    for pause in itertools.chain(pauses, itertools.repeat(pauses[-1])):
        try:
            return await _preflight(vma, credentials, task)
        except WorkerError as error:
            if error.reason != Reason.VCENTER_UNREACHABLE or time.monotonic() + pause > deadline:
                raise
            log.warning("vCenter can't be reached", retry_s=pause, error=error.message)
            tell(f"vCenter can't be reached and is tried again: {error.message}")
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
