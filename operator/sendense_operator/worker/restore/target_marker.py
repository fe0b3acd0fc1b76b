"""The marker of a claim that a Restore is writing to: whose it is, and the lock of the pod that writes.

It is the file `.sendense-restore.json`. Its first line says whose image lies beside it. A second line is appended
before the image gets its final name, and says which file that is. A line that was not written to its end counts as not
written, so an interruption leaves no marker that can't be understood.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from sendense_operator.task import Wire
from sendense_operator.worker.errors import NotRegularError
from sendense_operator.worker.storage.chain_lock import try_lock
from sendense_operator.worker.storage.durable_io import fsync_path, open_regular

MARKER: Final = ".sendense-restore.json"
_LIMIT: Final = 4096
"""Most bytes of a marker; one of ours has less than 400."""


class TargetIdentity(Wire):
    """What an image is: a disk of a restore point, restored for one Restore."""

    restore_uid: str
    point_uid: str
    disk: int
    size: int

    def line(self) -> bytes:
        """Return the marker's first line."""
        return self.model_dump_json(by_alias=True).encode() + b"\n"


class FinishedImage(Wire):
    """The marker's second line: which file is the finished image. What somebody has written to since is another."""

    inode: int
    modified: int
    """Time of the last modification in nanoseconds since the epoch."""

    @classmethod
    def of(cls, found: os.stat_result) -> FinishedImage:
        """Return the description of a file."""
        return cls(inode=found.st_ino, modified=found.st_mtime_ns)


class ForeignMarkerError(Exception):
    """What has the marker's name is no marker of this operator."""


class BusyMarkerError(Exception):
    """Another pod holds the marker's lock."""


class TargetMarker:
    """A marker whose lock is held until `close`."""

    def __init__(self, path: Path, fd: int, found: TargetIdentity) -> None:
        self._path, self._fd = path, fd
        self.found = found
        """What the image beside it is. Its restore point, and even its Restore, may be another."""
        self.finished: FinishedImage | None = None
        """The finished image, None if it was not finished."""

    @classmethod
    def create(cls, path: Path, identity: TargetIdentity) -> TargetMarker:
        """Create a marker durably. Raises BusyMarkerError if there is one meanwhile, and OSError."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o660)
        except FileExistsError as error:
            raise BusyMarkerError from error
        marker = cls(path, fd, identity)
        try:
            marker._lock()
            _append(fd, identity.line(), 0)
            fsync_path(path.parent)
        except BaseException:
            marker.close()
            raise
        return marker

    @classmethod
    def open(cls, path: Path, identity: TargetIdentity, *, alone: bool) -> TargetMarker:
        """Open an existing marker. One without a complete line is taken over if it is `alone` in its folder.

        Raises ForeignMarkerError, BusyMarkerError, and OSError.
        """
        try:
            fd = open_regular(path, os.O_RDWR)
        except (NotRegularError, IsADirectoryError) as error:
            raise ForeignMarkerError(str(error.strerror)) from error
        except FileNotFoundError as error:
            raise BusyMarkerError from error
        marker = cls(path, fd, identity)
        try:
            data = os.pread(fd, _LIMIT + 1, 0)
            # First of all: the lock of what is no marker is not ours to take.
            is_begun = alone and identity.line().startswith(data.rstrip(b"\0"))
            if not is_begun:
                marker.found, _ = _parse(data)
            marker._lock()
            data = os.pread(fd, _LIMIT + 1, 0)
            if is_begun and identity.line().startswith(data.rstrip(b"\0")):
                os.ftruncate(fd, 0)
                _append(fd, identity.line(), 0)
                fsync_path(path.parent)
            else:
                marker.found, marker.finished = _parse(data)
        except BaseException:
            marker.close()
            raise
        return marker

    def finish(self, image: FinishedImage) -> None:
        """Record durably which file is the finished image. Raises OSError."""
        line = self.found.line()
        os.ftruncate(self._fd, len(line))
        _append(self._fd, image.model_dump_json(by_alias=True).encode() + b"\n", len(line))
        self.finished = image

    def remove(self) -> None:
        """Remove the marker durably, and release its lock. Raises OSError."""
        self._path.unlink(missing_ok=True)
        fsync_path(self._path.parent)
        self.close()

    def close(self) -> None:
        """Release the lock; the marker stays. May be called repeatedly."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
        self._fd = -1

    def _lock(self) -> None:
        """Acquire the lock. Raises BusyMarkerError, and OSError."""
        if not try_lock(self._fd):
            raise BusyMarkerError
        held = os.fstat(self._fd)
        try:
            current = self._path.lstat()
        except FileNotFoundError as error:
            raise BusyMarkerError from error  # its former holder has just removed it
        if (held.st_dev, held.st_ino) != (current.st_dev, current.st_ino):
            raise BusyMarkerError


def _append(fd: int, line: bytes, at: int) -> None:
    if os.pwrite(fd, line, at) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(fd)


def _parse(data: bytes) -> tuple[TargetIdentity, FinishedImage | None]:
    """Return what a marker says: identity and finished image. Raises ForeignMarkerError."""
    if len(data) > _LIMIT:
        raise ForeignMarkerError(f"larger than {_LIMIT} bytes")
    first, end, rest = data.partition(b"\n")
    try:
        found = TargetIdentity.model_validate_json(first if end else b"")
    except (ValidationError, ValueError) as error:
        raise ForeignMarkerError("not a marker of this operator") from error
    second, end, _ = rest.partition(b"\n")
    try:
        return found, FinishedImage.model_validate_json(second if end else b"")
    except (ValidationError, ValueError):
        return found, None
