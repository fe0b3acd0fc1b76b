"""The task of a restore: part of the contract between controller and worker, see `task`."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from sendense_operator.task import MAX_DISKS, Bytes, ChainTask, PointReference, Wire

TARGETS_DIR: Final = "/targets"
"""Folder with a mount per restored disk, see `target_folder`."""
IMAGE: Final = "disk.img"
"""Name of the raw image in a claim of volume mode Filesystem, as KubeVirt and CDI expect it."""


def target_folder(index: int) -> str:
    """Return the name of the folder below TARGETS_DIR where the claim of the disk with this index is mounted."""
    return f"disk-{index}"


def restored_export_name(index: int) -> str:
    """Return the name of the NBD export of the disk with this index."""
    return f"disk-{index}"


class RestoreDisk(Wire):
    """One disk to restore."""

    index: Annotated[int, Field(ge=0)]
    """Disk index in the restore point."""
    virtual_size: Bytes = Field(alias="size")
    """Virtual size in bytes that the controller knows; the manifest of the restore point must have the same."""
    claim: str = ""
    """Name of the claim that receives the disk, for messages; empty: the disk is only verified."""


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
    allow_damaged: bool = False
    """Whether a damaged chunk becomes zeroes in the target instead of ending the restore."""
