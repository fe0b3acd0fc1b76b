"""One appliance: its settings, faults, log, clients; and the job that a start call asks for."""

from __future__ import annotations

import shutil
import time
from typing import Any, Final

from reference_vma import inventory
from reference_vma.cbt import DiskTracking, file_stamp, vm_folder, vm_lock
from reference_vma.config import Settings
from reference_vma.faults import FaultTable
from reference_vma.inventory import VM
from reference_vma.jobs import JobTable
from reference_vma.log import CallLog
from reference_vma.snapshot import list_snapshots
from reference_vma.spec import DiskSpec, JobSpec
from reference_vma.vcenter import VCenter, VCenterError, cbt_enabled, cbt_marker

_SETTLE_SECONDS: Final = 0.1


class Appliance:
    """Everything that a reset clears and that appliances do not share."""

    def __init__(self, settings: Settings) -> None:
        self._initial = settings
        self.settings = settings
        self.log = CallLog()
        self.faults = FaultTable()
        self.jobs = JobTable(self.log, settings.client_python)

    @property
    def vcenter(self) -> VCenter:
        """vCenter as it is now."""
        return VCenter(self.settings, self.faults)

    def reset(self, with_vms: bool) -> None:
        """Back to the beginning; VMs, tracking and snapshots only if asked for."""
        self.jobs.end_all()
        self.faults.remove()
        self.log.clear()
        self.settings = self._initial
        shutil.rmtree(self.settings.scratch, ignore_errors=True)
        if with_vms:
            self.remove_files()

    def remove_files(self) -> None:
        """VMs, their tracking and their snapshots."""
        for vm in inventory.scan(self.settings.disks):
            shutil.rmtree(vm.folder, ignore_errors=True)
        for folder in (self.settings.state, self.settings.scratch):
            shutil.rmtree(folder, ignore_errors=True)

    def start_job(self, body: dict[str, str]) -> int:
        """Start the client of a validated start call; its pid. Raises OSError, RuntimeError."""
        return self.jobs.start(self._job_spec(body))

    def _job_spec(self, body: dict[str, str]) -> JobSpec:
        job_id, vm_path, settings = body["job_id"], body["vm_path"], self.settings
        found = self.faults.take_client(vm_path, job_id)
        for fault in found:
            self.log.add("event", event="fault", on="client", mode=fault.mode, job_id=job_id, vm=vm_path)
        doomed, vm = "", None
        try:
            self.vcenter.login(body["vcenter_host"], body["vcenter_user"], body["vcenter_password"])
            vm = self.vcenter.find(vm_path)
            self._turn_on_cbt(vm)
        except VCenterError as error:
            doomed = str(error)
        return JobSpec(
            job_id=job_id,
            vm_path=vm_path,
            vm_uuid=vm.uuid if vm else "",
            control_plane=settings.control_plane,
            nbd_targets=body["nbd_targets"],
            disks=tuple(DiskSpec(disk.key, str(disk.file), disk.virtual_size) for disk in vm.disks) if vm else (),
            state_dir=str(settings.state),
            scratch_dir=str(settings.scratch),
            snapshot=str(vm.setting("snapshot", settings.snapshot)) if vm else settings.snapshot,
            telemetry_seconds=settings.telemetry_seconds,
            request_bytes=settings.request_bytes,
            workers=settings.workers,
            retry_seconds=settings.retry_seconds,
            zeroes=settings.zeroes,
            asks=settings.asks,
            callbacks=settings.callbacks,
            doomed=doomed,
            faults=tuple(fault.to_client() for fault in found),
        )

    def _turn_on_cbt(self, vm: VM) -> None:
        if cbt_enabled(self.settings, vm):
            return
        marker = cbt_marker(self.settings.state, vm.uuid)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        self.log.add("event", event="cbt_enabled", vm=vm.path)

    def show_vm(self, vm: VM) -> dict[str, Any]:
        """For the control API."""
        state = self.settings.state
        return {
            "name": vm.name,
            "path": vm.path,
            "uuid": vm.uuid,
            "folder": str(vm.folder.relative_to(self.settings.disks)),
            "snapshots": list_snapshots(self.settings.scratch, vm.uuid),
            "disks": [
                {
                    "key": disk.key,
                    "file": str(disk.file.relative_to(self.settings.disks)),
                    "size": disk.virtual_size,
                    "change_id": DiskTracking.load(state, vm.uuid, disk.key).change_id,
                }
                for disk in vm.disks
            ],
        }

    def track(self, vm: VM) -> None:
        """Record the disks' content now, so that the first job's snapshot need not read it. Takes a second or more."""
        with vm_lock(self.settings.state, vm.uuid):
            for disk in vm.disks:
                while (stamp := file_stamp(disk.file)) is None:
                    time.sleep(_SETTLE_SECONDS)
                DiskTracking.load(self.settings.state, vm.uuid, disk.key).record(disk.file, disk.virtual_size, stamp)

    def reset_cbt(self, vm: VM) -> None:
        """Forget the change tracking of a VM's disks: their change UUIDs will be new."""
        with vm_lock(self.settings.state, vm.uuid):
            for disk in vm.disks:
                shutil.rmtree(vm_folder(self.settings.state, vm.uuid) / str(disk.key), ignore_errors=True)

    def forget_change_ids(self, vm: VM, key: int | None) -> None:
        """Of one disk or of all: vCenter refuses the change ids that it reported so far, their UUIDs stay."""
        with vm_lock(self.settings.state, vm.uuid):
            for disk in vm.disks:
                if key in (None, disk.key):
                    DiskTracking.load(self.settings.state, vm.uuid, disk.key).forget()

    def remove_vm(self, vm: VM) -> None:
        """A VM with its tracking and its snapshots."""
        for folder in (vm.folder, *(vm_folder(base, vm.uuid) for base in (self.settings.state, self.settings.scratch))):
            shutil.rmtree(folder, ignore_errors=True)
