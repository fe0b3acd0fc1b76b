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
    Resource,
    ShortText,
    Status,
    Text,
    keyed_by,
    rules,
)


class ProtectedVMSpec(Model):
    """Which VM, by which appliance."""

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
    """The VMwareAppliance that reads it."""
    path: Annotated[str, Field(min_length=2, max_length=1024, pattern=r"^/")]
    """Inventory path in vCenter, such as /DC1/vm/production/db01."""
    datacenter: Text = ""
    """Name of the datacenter; empty: what stands before `/vm/` in the path."""
    uuid: (
        Annotated[str, Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", max_length=36)] | None
    ) = None
    """BIOS UUID that the VM at the path must have: another VM in its place is not backed up as this one. Discovery sets
    it; none: whichever VM is at the path."""
    discovery_interval_seconds: Annotated[int, Field(ge=10, le=86_400)] = 3600
    """How often the VM's disks are looked up."""


class VMDisk(Model):
    """One virtual disk."""

    index: Annotated[int, Field(ge=0, lt=MAX_DISKS)]
    """Position in the VM's device order."""
    key: Count
    """VMware's device key."""
    label: Text = ""
    """Label in vCenter."""
    virtual_size: Bytes = 0
    """Virtual size in bytes; 0 until it has been looked up."""
    vmdk_path: Text = ""
    """Datastore path of its vmdk."""
    datastore: Text = ""
    """Datastore that holds it."""
    provisioning_type: ShortText = ""
    """thin, thick, …"""


class ProtectedVMStatus(Status):
    """What vCenter says of the VM."""

    vm_name: Text | None = None
    """Name in vCenter."""
    uuid: ShortText | None = None
    """BIOS UUID."""
    power_state: ShortText | None = None
    """Power state in vCenter."""
    guest_os: Text | None = Field(default=None, alias="guestOS")
    """Guest operating system in vCenter."""
    cbt_enabled: bool | None = Field(default=None, alias="cbtEnabled")
    """Whether Changed Block Tracking is on (the appliance turns it on with the first backup)."""
    total_bytes: Bytes = 0
    """Sum of the disks' virtual sizes."""
    size: ShortText | None = None
    """The same as the Size column shows it."""
    last_discovery_time: datetime | None = None
    """When vCenter was last asked. The appliance's discovery renews it every six hours while nothing else changes."""
    vanished_time: datetime | None = None
    """Since when vCenter has not had the VM any more; absent while it is there."""
    disks: Annotated[
        list[VMDisk],
        Field(
            max_length=MAX_DISKS,
            json_schema_extra=keyed_by("index"),
        ),
    ] = []
    """Its disks, in device order."""


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
        AGE,
        Column("Power", ".status.powerState", priority=1),
        Column("CBT", ".status.cbtEnabled", "boolean", priority=1),
        MESSAGE,
    ),
    selectable=(".spec.applianceRef.name",),
)
