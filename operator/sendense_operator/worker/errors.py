"""Why a worker fails, and whether another attempt may help: the one table of it."""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import Final

from sendense_operator.task import Answer, ExitCode, FullReason
from sendense_operator.vma.stall_clocks import INCREMENT_REFUSED


class Reason(StrEnum):
    """CamelCase reasons of the worker's own; those of the VMA's clocks and of integrity come on top."""

    BAD_TASK = "BadTask"
    CREDENTIALS_INVALID = "CredentialsInvalid"

    NOT_A_REPOSITORY = "NotARepository"
    REPOSITORY_CHANGED = "RepositoryChanged"
    REPOSITORY_NEWER = "RepositoryNewer"
    REPOSITORY_FULL = "RepositoryFull"
    READ_ONLY = "ReadOnly"
    STORAGE_ERROR = "StorageError"
    RESTORE_POINT_DAMAGED = "RestorePointDamaged"
    CHAIN_BUSY = "ChainBusy"
    FENCED = "Fenced"

    VCENTER_REFUSED = "VCenterRefused"
    VCENTER_UNREACHABLE = "VCenterUnreachable"
    VM_NOT_FOUND = "VMNotFound"
    DISKS_CHANGED = "DisksChanged"
    APPLIANCE_UNREACHABLE = "ApplianceUnreachable"
    APPLIANCE_ERROR = "ApplianceError"

    MEMORY_EXCEEDED = "MemoryExceeded"
    FOREIGN_PEER = "ForeignPeer"
    EXPORT_FAILED = "ExportFailed"
    EXPORT_UNREACHABLE = "ExportUnreachable"
    IMAGE_CORRUPT = "ImageCorrupt"
    PARENT_GONE = "ParentGone"
    """A layer that an increment depends on went away while it was made."""
    INCREMENT_REFUSED = INCREMENT_REFUSED
    CANCELLED = "Cancelled"
    TERMINATED = "Terminated"
    WORKER_DIED = "WorkerDied"
    INTERNAL_ERROR = "InternalError"


FATAL: Final[frozenset[str]] = frozenset(
    {
        Reason.BAD_TASK,
        Reason.CREDENTIALS_INVALID,
        Reason.NOT_A_REPOSITORY,
        Reason.REPOSITORY_CHANGED,
        Reason.REPOSITORY_NEWER,
        # The next pod would have as little.
        Reason.MEMORY_EXCEEDED,
        # The copy would only fill the volume again: a person has to make room.
        Reason.REPOSITORY_FULL,
        Reason.READ_ONLY,
        Reason.RESTORE_POINT_DAMAGED,
        Reason.VCENTER_REFUSED,
        Reason.VM_NOT_FOUND,
        # The same task can't fit any more: the controller makes a new one.
        Reason.DISKS_CHANGED,
        # On request: nobody wants another attempt.
        Reason.CANCELLED,
        # Found by one that was only to look for what a dead one left.
        Reason.WORKER_DIED,
        # A disk that can't be an increment, and onMissingParent says Fail: a person has to decide.
        *FullReason,
    }
)
"""No further attempt of the same Job can help. Everything else is worth another attempt."""


class NotRegularError(OSError):
    """A link, a folder, a pipe or a device where a file should be."""


class WorkerError(Exception):
    """Ends the attempt; `reason` and `message` become the answer. `disk_index`: the disk that it is about, if any."""

    def __init__(self, reason: str, message: str, disk_index: int | None = None) -> None:
        self.reason = str(reason)
        self.message = message
        self.disk_index = disk_index
        super().__init__(f"{self.reason}: {message}")


def not_an_increment(index: int, why: FullReason) -> WorkerError:
    """Return the error for a disk that the appliance copied whole although only an increment may be committed."""
    return WorkerError(
        why,
        f"disk {index}: the appliance copied the whole disk instead of its changes ({why}), and "
        "spec.onMissingParent is Fail: make a Full",
        index,
    )


def exit_code(answer: Answer) -> ExitCode:
    """Return what the process ends with."""
    if answer.outcome == "Completed":
        return ExitCode.COMPLETED
    if answer.reason in FATAL:
        return ExitCode.FATAL
    return ExitCode.RETRY


_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})


_DAMAGE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})
"""Not EIO: a mount whose server is away answers it for sound files, too."""


def reading_error(error: OSError, what: str) -> WorkerError:
    """Return the error for an unreadable file of a restore point: ImageCorrupt, or the storage's error."""
    if isinstance(error, NotRegularError) or error.errno in _DAMAGE:
        return WorkerError(Reason.IMAGE_CORRUPT, f"{what}: {error.strerror}")
    return storage_error(error, f"reading {what}")


def is_full(error: OSError) -> bool:
    """Return whether there is no room, on the volume or for this user."""
    return error.errno in _FULL


def storage_error(error: OSError, what: str) -> WorkerError:
    """Return an error of the repository's file system, in words."""
    text = f"{what}: {error.strerror or error}"
    if is_full(error):
        return WorkerError(Reason.REPOSITORY_FULL, text)
    if error.errno == errno.EROFS:
        return WorkerError(Reason.READ_ONLY, text)
    if error.errno in _DENIED:
        return WorkerError(Reason.READ_ONLY, f"{text}: the storage may want another spec.podSecurity")
    return WorkerError(Reason.STORAGE_ERROR, text)
