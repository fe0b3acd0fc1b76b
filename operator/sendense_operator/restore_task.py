"""The task of a restore: part of the contract between controller and worker, see `task`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from sendense_operator.task import MAX_DISKS, Bytes, ChainTask, PointReference, Wire

TARGETS_DIR: Final = "/targets"
"""Folder with a mount per restored disk, see `target_folder`."""
IMAGE: Final = "disk.img"
"""Name of the raw image in a claim of volume mode Filesystem, as KubeVirt and CDI expect it."""
TLS_DIR: Final = "/etc/sendense/tls"
"""Folder where the Secret with the key of an export is mounted."""
TLS_KEYS: Final = "keys.psk"
"""Name of the key's file, which GnuTLS reads: qemu and libnbd expect it in the folder that they are given."""
TLS_USER: Final = "qemu"
"""Who the key is for: the name that qemu's own clients give by default."""


FILES: Final = "files"
"""Folder below TARGETS_DIR where the claim that receives all disks as files is mounted."""
FOLDER_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}(/[A-Za-z0-9][A-Za-z0-9._-]{0,62}){0,7}$"
"""Folder in that claim: relative, no component begins with a dot."""
MAX_FOLDER: Final = 255


MAX_PROCESSORS: Final = 768
"""Most virtual processors that vSphere takes."""
MAX_MEMORY: Final = 24 << 40
"""Most bytes of memory that vSphere takes."""


class FileFormat(StrEnum):
    """Format of the files that receive the disks."""

    RAW = "Raw"
    QCOW2 = "QCOW2"
    VMDK = "VMDK"
    OVA = "OVA"


class Firmware(StrEnum):
    """Firmware of a virtual machine."""

    BIOS = "BIOS"
    EFI = "EFI"


class SCSIController(StrEnum):
    """Kind of the controllers that a virtual machine has its disks on."""

    LSI_LOGIC = "LSILogic"
    LSI_LOGIC_SAS = "LSILogicSAS"
    PARAVIRTUAL = "Paravirtual"


def target_folder(index: int) -> str:
    """Return the name of the folder below TARGETS_DIR where the claim of the disk with this index is mounted."""
    return f"disk-{index}"


def restored_export_name(index: int) -> str:
    """Return the name of the NBD export of the disk with this index."""
    return f"disk-{index}"


def digests_export_name(index: int) -> str:
    """Return the name of the NBD export of the digest list of the disk with this index."""
    return f"digests-{index}"


def digests_port(base: int, index: int) -> int:
    """Return the port of that export; `base`: the port of the first disk's export."""
    return base + MAX_DISKS + index


class RestoreDisk(Wire):
    """One disk to restore."""

    index: Annotated[int, Field(ge=0)]
    """Disk index in the restore point."""
    virtual_size: Bytes = Field(alias="size")
    """Virtual size in bytes that the controller knows; the manifest of the restore point must have the same."""
    claim: str = ""
    """Name of the claim that receives the disk, for messages; empty: the disk is only verified."""


class FileHardware(Wire):
    """Hardware that the descriptor of an OVA shall have instead of the restore point's; None: that, or a default."""

    processors: Annotated[int, Field(ge=1)] | None = None
    memory_bytes: Annotated[int, Field(ge=1)] | None = None
    firmware: Firmware | None = None
    scsi_controller: SCSIController | None = None


class FileTask(Wire):
    """Files in one claim, instead of a claim per disk."""

    format: FileFormat
    folder: Annotated[str, Field(max_length=MAX_FOLDER, pattern=rf"^$|{FOLDER_PATTERN}")] = ""
    """Folder in the claim; empty: its root."""
    hardware: FileHardware = FileHardware()
    """Only for an OVA."""


class RestoreTask(ChainTask):
    """The restore of disks of one restore point."""

    kind: Literal["restore"] = "restore"
    restore: str
    """Name of the Restore."""
    restore_uid: str
    """UID of the Restore: only its own unfinished images are continued or replaced."""
    point: PointReference
    disks: Annotated[tuple[RestoreDisk, ...], Field(min_length=1, max_length=MAX_DISKS)]
    verify_only: bool = False
    """Whether everything is read and compared, but nothing written."""
    serve: bool = False
    """Whether the disks are served read-only over NBD instead of being written to claims."""
    serve_seconds: Annotated[float, Field(gt=0)] | None = None
    """How long they are served; None: until the pod is ended."""
    serve_tls: bool = False
    """Whether they are served with TLS only, to clients with the key in TLS_DIR."""
    serve_digests: bool = False
    """Whether the digest list of each disk is served beside it, for a pod that restores the disks elsewhere."""
    sender: Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9.-]*$")] = ""
    """Host of the pod that serves the disks and their digest lists with the key in TLS_DIR; empty: this pod has the
    repository itself."""
    file: FileTask | None = None
    """Files in one claim, which all disks name; None: a claim per disk receives the disk."""
    allow_damaged: bool = False
    """Whether a damaged chunk becomes zeroes in the target instead of ending the restore."""
