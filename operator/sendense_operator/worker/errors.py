"""Reasons for which a worker fails, and whether another attempt may help."""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import Final

from sendense_operator.answer import Answer
from sendense_operator.task import ExitCode, FullReason
from sendense_operator.vma.stall_clocks import INCREMENT_REFUSED


class Reason(StrEnum):
    """The worker's own reasons, in CamelCase; `vma.stall_clocks` and `chain.integrity` have further ones."""

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
    """A layer that the new increment depends on was removed while the increment was made."""
    INCREMENT_REFUSED = INCREMENT_REFUSED
    RESTORE_POINT_GONE = "RestorePointGone"
    TARGET_TOO_SMALL = "TargetTooSmall"
    TARGET_FULL = "TargetFull"
    TARGET_NOT_EMPTY = "TargetNotEmpty"
    TARGET_NOT_WRITABLE = "TargetNotWritable"
    TARGET_BUSY = "TargetBusy"
    """Another pod of the same Restore still has the target."""
    TARGET_FAULTY = "TargetFaulty"
    """The target does not read as it was written."""
    TARGET_ERROR = "TargetError"
    SENDER_LOST = "SenderLost"
    """The pod that serves the disks to this one does not answer (any more)."""
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
        # The next pod would have the same limit.
        Reason.MEMORY_EXCEEDED,
        # The copy would only fill the volume again: an administrator has to free space first.
        Reason.REPOSITORY_FULL,
        Reason.READ_ONLY,
        Reason.RESTORE_POINT_DAMAGED,
        Reason.RESTORE_POINT_GONE,
        # The next pod would have the same claims.
        Reason.TARGET_TOO_SMALL,
        Reason.TARGET_FULL,
        Reason.TARGET_NOT_EMPTY,
        Reason.TARGET_NOT_WRITABLE,
        Reason.VCENTER_REFUSED,
        Reason.VM_NOT_FOUND,
        # The task describes the former disks, and another attempt would have the same task.
        Reason.DISKS_CHANGED,
        # The user requested it.
        Reason.CANCELLED,
        # Result of a recovery attempt, which copies nothing.
        Reason.WORKER_DIED,
        # A disk can't be an increment, and onMissingParent is Fail: the user has to decide.
        *FullReason,
    }
)
"""Reasons after which no further attempt of the same Job can help. After any other reason one is made."""


class NotRegularError(OSError):
    """A link, folder, pipe or device exists where a regular file is expected."""


class WorkerError(Exception):
    """Error that ends the attempt; its `reason` and `message` go into the answer. `disk_index`: the affected disk."""

    def __init__(self, reason: str, message: str, disk_index: int | None = None) -> None:
        self.reason = str(reason)
        self.message = message
        self.disk_index = disk_index
        super().__init__(f"{self.reason}: {message}")


def not_an_increment(index: int, why: FullReason) -> WorkerError:
    """Return the error for a disk that the appliance copied in full although only an increment may be committed."""
    return WorkerError(
        why,
        f"disk {index}: the appliance copied the whole disk instead of its changes ({why}), and "
        "spec.onMissingParent is Fail: make a backup of type Full first",
        index,
    )


def exit_code(answer: Answer) -> ExitCode:
    """Return the exit code for an answer."""
    if answer.outcome == "Completed":
        return ExitCode.COMPLETED
    if answer.reason in FATAL:
        return ExitCode.FATAL
    return ExitCode.RETRY


_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})


_DAMAGE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})
"""Errors that show damage of a file. Not EIO, which a mount returns for sound files, too, if its server is away."""


def reading_error(error: OSError, what: str) -> WorkerError:
    """Return the error for an unreadable file of a restore point: ImageCorrupt, or as `storage_error` does."""
    if isinstance(error, NotRegularError) or error.errno in _DAMAGE:
        return WorkerError(Reason.IMAGE_CORRUPT, f"{what}: {error.strerror}")
    return storage_error(error, f"reading {what}")


def is_full(error: OSError) -> bool:
    """Return whether the volume is full, or the user's quota is used up."""
    return error.errno in _FULL


def storage_error(error: OSError, what: str) -> WorkerError:
    """Return the error for a failure of the repository's file system; `what`: the operation, for the message."""
    text = f"{what}: {error.strerror or error}"
    if is_full(error):
        return WorkerError(Reason.REPOSITORY_FULL, text)
    if error.errno == errno.EROFS:
        return WorkerError(Reason.READ_ONLY, text)
    if error.errno in _DENIED:
        return WorkerError(
            Reason.READ_ONLY, f"{text}: check spec.podSecurity of the BackupRepository (user and groups of the worker)"
        )
    return WorkerError(Reason.STORAGE_ERROR, text)
