"""The JSON of the REST endpoints. Names and meanings are those of the system that was replaced."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from sendense_operator.api.v1alpha1.base import MAX_DISKS
from sendense_operator.api.v1alpha1.names import NAME_PATTERN

MAX_TAGS: Final = 32
MAX_TAG: Final = 4096
SENTENCE: Final = "sentence"
"""Type of a validation error whose message is the whole sentence, such as that of a body that names no VM."""

BackupType = Literal["full", "incremental"]
BackupState = Literal["pending", "running", "completed", "failed"]
Name = Annotated[str, Field(min_length=1, max_length=1024)]
DiskID = Annotated[int, Field(ge=0, lt=MAX_DISKS)]


class WireModel(BaseModel):
    """A body or an answer. Unknown fields of a body are ignored."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)


def require_vm(data: Any) -> Any:
    """Raise PydanticCustomError for a body that names no VM."""
    if isinstance(data, dict) and all(data.get(name) in (None, "") for name in ("vm_name", "vm_context_id")):
        raise PydanticCustomError(SENTENCE, "vm_name is required")
    return data


class StartRequest(WireModel):
    """What to back up, and where to."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"anyOf": [{"required": ["vm_name"]}, {"required": ["vm_context_id"]}]}
    )

    vm_name: Name | None = None
    """Name of the VM in vCenter, else of its ProtectedVM; 409 when there are several. Not needed with vm_context_id."""
    vm_context_id: Annotated[str, Field(max_length=1024)] | None = None
    """Name of the ProtectedVM: tells VMs of one name apart, and wins over vm_name."""
    backup_type: BackupType
    """full copies all; incremental what changed since the newest restore point."""
    repository_id: Name
    """Name of the BackupRepository."""
    disk_id: DiskID | None = None
    """Only this disk: possible only where the VM has no other, since the appliance copies all disks of a VM."""
    policy_id: Annotated[str, Field(max_length=1024)] | None = None
    """Kept with the backup."""
    tags: Annotated[dict[str, Annotated[str, Field(max_length=MAX_TAG)]], Field(max_length=MAX_TAGS)] | None = None
    """Kept with the backup. Keys: letters, digits, `-`, `_`, `.`, at most 63."""
    backup_id: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    """Name for the new Backup; one is made up when it is left out. 409 when it is taken: so a call can be repeated."""

    _names_a_vm = model_validator(mode="before")(require_vm)


class DiskResult(WireModel):
    """One disk of a VM with several."""

    disk_id: DiskID
    """Position in the VM's device order."""
    nbd_port: int | None
    """TCP port of its export inside the worker's pod."""
    nbd_export_name: str | None
    """Name of its export."""
    qcow2_path: str | None
    """Its layer, below the repository's root."""
    status: BackupState
    """How far it is."""
    error_message: str | None
    """Why it failed."""


class Backup(WireModel):
    """One backup. The last fields are there only where they have a meaning."""

    backup_id: str
    """Name of the Backup."""
    vm_context_id: str
    """Name of the ProtectedVM."""
    vm_name: str
    """Name of the VM in vCenter."""
    disk_id: int
    """0: with several disks see disk_results."""
    backup_type: BackupType
    """What ran; before that is known, what was asked for."""
    type: BackupType
    """The same."""
    repository_id: str
    """Name of the BackupRepository."""
    policy_id: str | None
    """As given at the start."""
    status: BackupState
    """failed includes cancelled and lost ones: error_message says which."""
    file_path: str | None
    """The QCOW2 layer of disk 0, below the repository's root."""
    bytes_transferred: int
    """Received from the appliance so far."""
    total_bytes: int
    """Sum of the disks' sizes."""
    change_id: str | None
    """VMware's change id of disk 0."""
    error_message: str | None
    """Why it failed."""
    created_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    tags: dict[str, str]
    """As given at the start."""
    disks_count: int | None = None
    """Number of disks, when there are several."""
    disk_results: list[DiskResult] | None = None
    """Each disk, when there are several."""
    current_phase: str | None = None
    """Where a running backup is; `deleting` while its Backup is being deleted."""
    transfer_speed_bps: int | None = None
    """Bytes a second, while running."""
    progress_percent: int | None = None
    """0 to 100, while running."""
    last_telemetry_at: datetime | None = None
    """When the copy last reported something new, while running."""


class BackupList(WireModel):
    """Backups, the newest first."""

    backups: list[Backup]
    total: int
    """Number of all that match, however few of them are listed."""


class ConsolidateRequest(WireModel):
    """Which chain's layers are to be merged."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"anyOf": [{"required": ["vm_name"]}, {"required": ["vm_context_id"]}]}
    )

    vm_name: Name | None = None
    """As in chain. Not needed with vm_context_id."""
    vm_context_id: Annotated[str, Field(max_length=1024)] | None = None
    """Name of the ProtectedVM; wins over vm_name."""
    repository_id: Name
    """Name of the BackupRepository."""

    _names_a_vm = model_validator(mode="before")(require_vm)


class Consolidation(WireModel):
    """Consolidation of a chain."""

    mode: str
    """Auto, Manual or Never."""
    requested: bool
    """Whether a request is being acted on."""
    progress: str | None
    """What is being merged, or what the merge waits for."""
    last_consolidation_at: datetime | None
    """When the last one ended."""
    merges: int
    """Layers that it wrote, each in the place of several."""
    freed_bytes: int
    """Bytes that it freed."""
    left: str | None
    """Why layers were left alone that should be merged."""
    message: str | None
    """The same in words, or why the last one did not come to its end."""


class ConsolidationStart(WireModel):
    """A consolidation that was requested."""

    chain_id: str
    """Name of the BackupChain."""
    vm_context_id: str
    repository_id: str
    request: str
    """Identifies the request: the value of the chain's annotation backup.sendense.io/consolidate."""
    consolidation: Consolidation
    """As it was before the request."""


class Chain(WireModel):
    """The restore points of one disk in one repository, the oldest first."""

    chain_id: str
    """Name of the BackupChain."""
    vm_context_id: str
    vm_name: str
    disk_id: int
    repository_id: str
    full_backup_id: str | None
    """The full that the newest restore point depends on."""
    backups: list[Backup]
    total_size_bytes: int
    """Stored bytes of this disk's layers."""
    backup_count: int
    consolidation: Consolidation
    """Whether layers of removed restore points are merged, for all disks."""


class Deletion(WireModel):
    """What becomes of a deleted backup's files."""

    backup_id: str
    status: Literal["deleting", "deleted"]
    message: str
    """The same in words."""
    freed_bytes: int
    """Bytes that become free; 0 while other restore points need its files."""
    files: list[str]
    """Files that go, below the repository's root."""
    needed_by: list[str]
    """Backups that still need them."""


class Protection(WireModel):
    """The restore points of a VM in one repository."""

    repository_id: str
    chain_id: str
    restore_points: int
    last_backup_id: str | None
    last_backup_at: datetime | None
    stored_bytes: int


class DiskOfVM(WireModel):
    """One disk of a VM."""

    disk_id: int
    label: str
    capacity_bytes: int


class VM(WireModel):
    """A VM that can be backed up, and whether it is."""

    vm_context_id: str
    """Name of the ProtectedVM."""
    vm_name: str
    """Name in vCenter; of the ProtectedVM until vCenter was asked."""
    vm_path: str
    """Inventory path in vCenter."""
    appliance_id: str
    """Name of the VMwareAppliance."""
    power_state: str | None
    cbt_enabled: bool | None
    """Whether changed blocks are tracked; null: not known."""
    total_bytes: int
    """Sum of the disks' sizes."""
    disks: list[DiskOfVM]
    ready: bool
    """Whether it could be backed up now."""
    message: str | None
    """Why not."""
    protected: bool
    """Whether there is a restore point of it."""
    last_backup_at: datetime | None
    """Of the newest restore point."""
    protection: list[Protection]
    """By repository."""


class VMList(WireModel):
    """VMs in the order of their names."""

    vms: list[VM]
    total: int
    """Number of all, however few of them are listed."""


class Error(WireModel):
    """What went wrong."""

    error: str
    details: str
    """More of it, perhaps nothing."""
    timestamp: datetime
