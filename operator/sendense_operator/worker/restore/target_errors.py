"""Failures of the file system of a claim that receives a disk."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from sendense_operator.restore_task import RestoreDisk
from sendense_operator.worker.errors import Reason, WorkerError, is_full
from sendense_operator.worker.restore.restore_wording import describe_target

_DENIED: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_HINT: Final = (
    "check that the claim is not mounted read-only, and spec.podSecurity of the BackupRepository (fsGroup, user and "
    "groups of the worker)"
)


def target_error(error: OSError, disk: RestoreDisk, what: str) -> WorkerError:
    """Return the error for a failure of a claim's file system; `what`: the operation, for the message."""
    text = f"{describe_target(disk)}: {what}: {error.strerror or error}"
    if is_full(error):
        return WorkerError(Reason.TARGET_FULL, text, disk.index)
    if error.errno == errno.EFBIG:
        limit = f"its file system can't hold a file of {disk.virtual_size} bytes"
        return WorkerError(Reason.TARGET_TOO_SMALL, f"{text}: {limit}", disk.index)
    if error.errno in _DENIED:
        return WorkerError(Reason.TARGET_NOT_WRITABLE, f"{text}: {_HINT}", disk.index)
    return WorkerError(Reason.TARGET_ERROR, text, disk.index)


@contextmanager
def target_failures(disk: RestoreDisk, what: str) -> Iterator[None]:
    """Turn each OSError of the block into a WorkerError, as `target_error` does."""
    try:
        yield
    except OSError as error:
        raise target_error(error, disk, what) from error


_MEANINGS: Final[Mapping[str, str]] = {
    Reason.REPOSITORY_FULL: Reason.TARGET_FULL,
    Reason.IMAGE_CORRUPT: Reason.TARGET_FAULTY,
    Reason.STORAGE_ERROR: Reason.TARGET_ERROR,
    Reason.EXPORT_FAILED: Reason.TARGET_ERROR,
}
"""What failures mean that are of the repository elsewhere, when the image is the target's."""


@contextmanager
def image_failures(disk: RestoreDisk) -> Iterator[None]:
    """Turn what QEMU's tools and connections say about an image of the target into an error of the target."""
    try:
        yield
    except WorkerError as error:
        if error.disk_index is not None:
            raise  # it is one of the target's already
        reason = _MEANINGS.get(error.reason, error.reason)
        raise WorkerError(reason, f"{describe_target(disk)}: {error.message}", disk.index) from error


def taken(disk: RestoreDisk, what: str) -> WorkerError:
    """Return the error for a file that is not this Restore's where one of its own shall be; `what`: that file."""
    text = f"{describe_target(disk)}: {what}. A restore never overwrites: name another folder or claim"
    return WorkerError(Reason.TARGET_NOT_EMPTY, text, disk.index)


def not_empty(disk: RestoreDisk, what: str) -> WorkerError:
    """Return the error for a claim with content that is not this Restore's; `what`: that content."""
    text = f"{describe_target(disk)}: the claim is not empty: {what}. A restore never overwrites: use an empty claim"
    return WorkerError(Reason.TARGET_NOT_EMPTY, text, disk.index)
