"""ProtectedVM: a VM in vCenter that can be backed up."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from sendense_operator.api.v1alpha1.base import (
    AGE,
    MAX_DISKS,
    MESSAGE,
    READY,
    REASON,
    Bytes,
    Column,
    Count,
    LocalRef,
    Model,
    ObjectName,
    Resource,
    ShortText,
    Status,
    Text,
    keyed_by,
    rules,
)


class ProtectedVMSpec(Model):
    """The VM, and the appliance that reads it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("!self.path.endsWith('/')", "spec.path: must not end with a slash; the last element is the VM's name"),
            ("!self.path.contains('//')", "spec.path: has an empty element (two slashes in a row)"),
            (
                "self.path.indexOf('/vm/') > 0",
                "spec.path: must be an inventory path DATACENTER/vm/…/NAME, such as /DC1/vm/production/db01",
            ),
        )
    )

    appliance_ref: LocalRef
    """The VMwareAppliance that reads the VM."""
    path: Annotated[str, Field(min_length=2, max_length=1024, pattern=r"^/")]
    """Inventory path in vCenter, such as /DC1/vm/production/db01."""
    datacenter: Text = ""
    """Name of the datacenter; empty: the part of the path before `/vm/`."""
    uuid: (
        Annotated[str, Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", max_length=36)] | None
    ) = None
    """BIOS UUID that the VM at the path must have, so that another VM at this path is not backed up as this one.
    Discovery sets it. Absent: whichever VM is at the path."""
    discovery_interval_seconds: Annotated[int, Field(ge=10, le=86_400)] = 3600
    """Seconds between two requests for the VM's disks."""


class VMDisk(Model):
    """One virtual disk."""

    index: Annotated[int, Field(ge=0, lt=MAX_DISKS)]
    """Position in the VM's device order."""
    key: Count
    """VMware's device key."""
    label: Text = ""
    """Label in vCenter."""
    virtual_size: Bytes = 0
    """Virtual size in bytes; 0 until vCenter has reported it."""
    vmdk_path: Text = ""
    """Datastore path of the disk's VMDK file."""
    datastore: Text = ""
    """Datastore that holds the disk."""
    provisioning_type: ShortText = ""
    """Provisioning type as vCenter reports it, such as thin or thick."""


class ProtectedVMStatus(Status):
    """The VM as vCenter reports it, and how recent its newest restore point is."""

    vm_name: Text | None = None
    """Name in vCenter."""
    uuid: ShortText | None = None
    """BIOS UUID in vCenter."""
    power_state: ShortText | None = None
    """Power state in vCenter."""
    guest_os: Text | None = Field(default=None, alias="guestOS")
    """Guest operating system in vCenter."""
    cbt_enabled: bool | None = Field(default=None, alias="cbtEnabled")
    """Whether Changed Block Tracking is on. The appliance turns it on with the first backup."""
    total_bytes: Bytes = 0
    """Sum of the disks' virtual sizes."""
    size: ShortText | None = None
    """The sum, as the Size column shows it."""
    last_discovery_time: datetime | None = None
    """When vCenter last reported the VM. While nothing else changes, discovery updates this every six hours."""
    vanished_time: datetime | None = None
    """When the VM was found to be missing from vCenter; absent while vCenter has it."""
    latest_backup: ObjectName | None = None
    """Name of the newest usable restore point's Backup, over all repositories."""
    latest_time: datetime | None = None
    """When the content of that restore point was taken."""
    policy: ObjectName | None = None
    """The BackupPolicy that backs up the VM; of several (one per repository) the one with the strictest objective."""
    next_time: datetime | None = None
    """The next slot of that policy."""
    disks: Annotated[
        list[VMDisk],
        Field(
            max_length=MAX_DISKS,
            json_schema_extra=keyed_by("index"),
        ),
    ] = []
    """The VM's disks, in device order."""


PROTECTED_VM = Resource(
    kind="ProtectedVM",
    plural="protectedvms",
    short_name="pvm",
    description="A VM in vCenter that can be backed up.",
    spec=ProtectedVMSpec,
    status=ProtectedVMStatus,
    columns=(
        Column("Path", ".spec.path"),
        Column("Appliance", ".spec.applianceRef.name"),
        READY,
        REASON,
        Column("Size", ".status.size"),
        Column("Latest", ".status.latestTime", "date"),
        Column("Next", ".status.nextTime"),
        Column("Protected", ".status.conditions[?(@.type=='Protected')].status"),
        AGE,
        Column("Power", ".status.powerState", priority=1),
        Column("CBT", ".status.cbtEnabled", "boolean", priority=1),
        MESSAGE,
    ),
    selectable=(".spec.applianceRef.name",),
)
