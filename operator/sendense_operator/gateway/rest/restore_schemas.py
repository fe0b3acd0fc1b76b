"""The JSON of the endpoints of Restores, in the style of those of backups."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from sendense_operator.api.v1alpha1.base import MAX_DISKS, MAX_INT, SubdomainName
from sendense_operator.api.v1alpha1.names import NAME_PATTERN
from sendense_operator.gateway.rest.machine_schemas import ClaimMode, VirtualMachine
from sendense_operator.gateway.rest.schemas import SENTENCE, BackupState, DiskID, Name, WireModel
from sendense_operator.restore_task import FOLDER_PATTERN, MAX_FOLDER, MAX_MEMORY, MAX_PROCESSORS

_VM_FIELDS: Final = ("vm_name", "vm_context_id")


class NewClaim(WireModel):
    """A claim that the operator makes."""

    model_config = ConfigDict(strict=True)

    storage_class_name: SubdomainName | None = None
    """StorageClass of the claim; left out: the cluster's default."""
    access_modes: Annotated[list[ClaimMode], Field(min_length=1, max_length=3)] | None = None
    """Access modes of the claim; left out: ReadWriteOnce."""
    size_bytes: Annotated[int, Field(ge=1, le=MAX_INT)] | None = None
    """Size to request; left out: large enough for the disk on ext4."""


class DiskTarget(WireModel):
    """The claim that receives one disk."""

    model_config = ConfigDict(strict=True)

    disk_id: DiskID
    """Position in the VM's device order."""
    claim_name: SubdomainName
    """Name of a PersistentVolumeClaim in the same namespace, of volume mode Filesystem and empty; the restore waits
    until it exists. The disk becomes the raw image disk.img in it. Another one for each disk."""
    create: NewClaim | None = None
    """Makes the claim: `{}` as its defaults are. It is deleted with the restore until that is completed, and stays from
    then on."""


class FileHardware(WireModel):
    """Hardware of the VM that an OVA describes, where it shall be other than that of the VM that was backed up."""

    model_config = ConfigDict(strict=True)

    processors: Annotated[int, Field(ge=1, le=MAX_PROCESSORS)] | None = None
    """Number of virtual processors; left out: as in the restore point, else 2."""
    memory_bytes: Annotated[int, Field(ge=4 << 20, le=MAX_MEMORY)] | None = None
    """Memory in bytes; left out: as in the restore point, else 4 GiB."""
    firmware: Literal["BIOS", "EFI"] | None = None
    """The one that the guest was installed with; left out: what imports the OVA decides."""
    scsi_controller: Literal["LSILogic", "LSILogicSAS", "Paravirtual"] | None = None
    """Kind of the disks' controllers, for which the guest needs a driver; left out: LSILogic."""


class FileRequest(WireModel):
    """Files in one claim: one per disk, or an OVA with all of them."""

    model_config = ConfigDict(strict=True)

    format: Literal["Raw", "QCOW2", "VMDK", "OVA"]
    """Raw: the bytes of the disk; QCOW2: without a backing file; VMDK: stream-optimised; OVA: as vCenter imports it."""
    claim_name: SubdomainName
    """Name of a PersistentVolumeClaim in the same namespace, of volume mode Filesystem; what else is in it stays."""
    folder: Annotated[str, Field(min_length=1, max_length=MAX_FOLDER, pattern=FOLDER_PATTERN)] | None = None
    """Folder in the claim, which is made if it does not exist; left out: the claim's root."""
    create: NewClaim | None = None
    """Makes the claim, as for targets."""
    hardware: FileHardware | None = None
    """Only with OVA: hardware other than that of the restore point."""


class RestoreRequest(WireModel):
    """What to restore, and where to."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "anyOf": [
                {"required": ["backup_id"]},
                {"required": ["vm_name", "repository_id"]},
                {"required": ["vm_context_id", "repository_id"]},
            ]
        },
    )

    backup_id: Name | None = None
    """The backup whose restore point is restored. Else vm_name or vm_context_id, and repository_id."""
    vm_name: Name | None = None
    """Name in vCenter, else of the ProtectedVM, of the VM whose newest undamaged restore point is restored; 409 when
    there are several."""
    vm_context_id: Annotated[str, Field(max_length=1024)] | None = None
    """Name of the ProtectedVM, which may be gone: tells VMs of one name apart, and wins over vm_name."""
    repository_id: Name | None = None
    """Name of the BackupRepository with the restore points of the VM."""
    at: Annotated[str, Field(max_length=40)] | None = None
    """Only restore points of the VM that were complete by then count: latest (as when it is left out), or a time such
    as 2026-01-31T12:00:00Z."""
    disks: Annotated[list[DiskID], Field(max_length=MAX_DISKS)] | None = None
    """Positions of the disks to restore; left out: all."""
    targets: Annotated[list[DiskTarget], Field(max_length=MAX_DISKS)] | None = None
    """The claim of each of these disks. One of targets, virtual_machine and file is required without verify_only."""
    virtual_machine: VirtualMachine | None = None
    """Makes a KubeVirt VirtualMachine of the disks, and a claim for each of them, instead of targets."""
    file: FileRequest | None = None
    """Files of these disks in one claim, instead of targets."""
    verify_only: bool = False
    """Read all content and compare it with its digests, and write nothing: then there are no targets."""
    allow_damaged: bool = False
    """Go on where the restore point is damaged: the target has zeroes there, and disk_results list the places."""
    restore_id: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    """Name for the new Restore; one is made up when it is left out. 409 when it is taken: so a call can be repeated."""

    @model_validator(mode="before")
    @classmethod
    def _names_a_source(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        given = {name for name in ("backup_id", "repository_id", *_VM_FIELDS) if data.get(name) not in (None, "")}
        if not given.intersection(("backup_id", *_VM_FIELDS)):
            raise PydanticCustomError(SENTENCE, "backup_id or vm_name is required")
        if not given.intersection(("backup_id", "repository_id")):
            raise PydanticCustomError(SENTENCE, "repository_id is required")
        return data


class DamagedPlace(WireModel):
    """Part of a disk that is damaged in the restore point, and zeroes in the target."""

    offset: int
    """First byte of the disk."""
    length: int
    """Number of bytes."""


class RestoredDisk(WireModel):
    """Progress and result of one disk."""

    disk_id: DiskID
    """Position in the VM's device order."""
    claim_name: str | None
    """The claim that receives it; null with verify_only."""
    file: str | None
    """Path in the claim of the file that receives it; null unless files are written."""
    status: BackupState
    """How far it is. All disks end together."""
    total_bytes: int
    """Its size as the guest sees it."""
    bytes_processed: int
    """Bytes that are done, holes included."""
    progress_percent: int
    """0 to 100; 100 only once the target was read back."""
    data_bytes: int | None
    """Bytes that are not known to be zeroes; null until the end."""
    bytes_written: int | None
    """Bytes that the last attempt wrote; null until the end."""
    damaged_bytes: int
    """Bytes that are damaged in the restore point, with allow_damaged."""
    damaged: list[DamagedPlace]
    """The first damaged places; the log of the worker's pod has all."""


class RestoreTarget(WireModel):
    """The claim that receives one disk, as given at the start."""

    disk_id: int
    claim_name: str
    create: bool
    """Whether the operator makes the claim."""


class RestoreFile(WireModel):
    """The files of a restore, as given at the start."""

    format: str
    claim_name: str
    folder: str | None
    create: bool
    """Whether the operator makes the claim."""


class Restore(WireModel):
    """One restore. The last fields are there only where they have a meaning."""

    restore_id: str
    """Name of the Restore."""
    backup_id: str | None
    """The backup whose restore point is restored; null until one is chosen."""
    vm_context_id: str | None
    """Name of the ProtectedVM; null until it is known."""
    vm_name: str | None
    """Name of the VM in vCenter; null until it is known."""
    repository_id: str | None
    """Name of the BackupRepository; null until it is known."""
    at: str | None
    """As given at the start."""
    restore_point_at: datetime | None
    """When the restore point was committed; null until one is chosen."""
    disks: list[int]
    """As given at the start; empty: all."""
    targets: list[RestoreTarget]
    """As given at the start."""
    virtual_machine: str | None
    """Name of the VirtualMachine that is made; null: none."""
    file: RestoreFile | None
    """As given at the start; null if no files are written."""
    verify_only: bool
    allow_damaged: bool
    status: BackupState
    """failed includes cancelled ones: error_message says which."""
    bytes_processed: int
    """Bytes of all disks that are done, holes included."""
    total_bytes: int
    """Sum of the disks' sizes."""
    damaged_bytes: int
    """Bytes that are damaged in the restore point: zeroes in the targets."""
    message: str | None
    """The state in words: what it waits for, what it does, or what was restored."""
    error_message: str | None
    """Why it failed."""
    created_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    disk_results: list[RestoredDisk]
    """Each disk; empty until the restore point is chosen."""
    current_phase: str | None = None
    """Where a running restore is; `deleting` while its Restore is being deleted."""
    transfer_speed_bps: int | None = None
    """Bytes a second, while running."""
    progress_percent: int | None = None
    """0 to 100, while running."""
    last_telemetry_at: datetime | None = None
    """When the worker last reported something new, while running."""
    eta_seconds: int | None = None
    """Estimated seconds until the end, while running."""


class RestoreList(WireModel):
    """Restores, the newest first."""

    restores: list[Restore]
    total: int
    """Number of all that match, however few of them are listed."""


class RestoreDeletion(WireModel):
    """What becomes of a deleted restore."""

    restore_id: str
    status: Literal["deleting", "deleted"]
    message: str
    """What becomes of its worker and of what it wrote."""
