"""The lock of a chain, which allows one writer: `flock` on `<vm>/.lock`, and the owner's record in `<vm>/.owner`.

The kernel releases the lock when its holder ends. A network file system may also lose locks while a node is
disconnected. Therefore the record is read again immediately before each step of a commit: a worker that was assumed
dead and resumes finds another owner, and stops.

The record is a file of its own because an SMB share refuses to read a locked file, even to the holder. Earlier versions
kept the record in `.lock`. That file is kept empty now, so that an earlier version that resumes does not find its
record there, and so that its length alone shows whether an earlier version holds the lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sendense_operator.chain import layout
from sendense_operator.worker.errors import Reason, WorkerError, is_full, storage_error
from sendense_operator.worker.storage.durable_io import ensure_folder, open_regular, read_regular

_RETRY_SECONDS = 0.25
_RECORD_LIMIT: Final = 4096
_OPEN: Final = os.O_RDWR | os.O_CREAT


class ChainLock:
    """A lock that is held; as a context manager it releases the lock at the end."""

    def __init__(self, path: Path, owner: str, fd: int) -> None:
        """Initialize; `owner`: pod UID in the record, empty if the full volume has no space for a record."""
        self._path, self._owner, self._fd = path, owner, fd

    @classmethod
    def try_acquire(cls, path: Path, root: Path, owner: str, *, may_lack_record: bool = False) -> ChainLock | None:
        """Return the lock, or None while another process holds it. `owner`: pod UID. Raises WorkerError.

        `may_lack_record`: acquire it also on a full volume, on which the owner's record can't be written. Only for
        maintenance, which removes files: without it, no space would ever be freed again.
        """
        try:
            ensure_folder(path.parent, root)
            fd = open_regular(path, _OPEN)
        except OSError as error:
            raise storage_error(error, "opening the chain's lock") from error
        try:
            if not try_lock(fd):
                os.close(fd)
                return None
            os.ftruncate(fd, 0)
            is_written = _write_record(_record_of(path), owner, may_lack_record=may_lack_record)
        except OSError as error:
            os.close(fd)
            raise storage_error(error, "locking the chain") from error
        return cls(path, owner if is_written else "", fd)

    @classmethod
    async def acquire(cls, path: Path, root: Path, owner: str, wait: float) -> ChainLock:
        """Return the lock, waiting up to `wait` seconds. Raises WorkerError, ChainBusy if it stays held."""
        deadline = time.monotonic() + wait
        while True:
            lock = cls.try_acquire(path, root, owner)
            if lock is not None:
                return lock
            if time.monotonic() >= deadline:
                raise WorkerError(Reason.CHAIN_BUSY, f"the pod with UID {_owner_at(path)} is writing this chain")
            await asyncio.sleep(_RETRY_SECONDS)

    def check(self) -> None:
        """Raise WorkerError Fenced unless this process still owns the lock: the same file, and its own record."""
        try:
            held, current = os.fstat(self._fd), self._path.stat(follow_symlinks=False)
        except OSError as error:
            raise WorkerError(Reason.FENCED, f"the chain's lock can't be checked: {error.strerror}") from error
        same = (held.st_dev, held.st_ino) == (current.st_dev, current.st_ino)
        if not same or current.st_size or not self._is_recorded():
            raise WorkerError(
                Reason.FENCED, f"the chain's lock now belongs to the pod with UID {_owner_at(self._path)}"
            )

    def _is_recorded(self) -> bool:
        """Return whether the record names this owner; for a lock without record, whether there is still none."""
        try:
            found = read_regular(_record_of(self._path), _RECORD_LIMIT)
        except FileNotFoundError:
            return not self._owner
        except OSError:
            return False
        return _owner_in(found) == self._owner if self._owner else not found

    def before(self, _: str) -> None:
        """Call `check`; for use as an `on_step` callback, which receives the name of each step before it is done."""
        self.check()

    def is_ours(self) -> bool:
        """Return whether `check` succeeds."""
        try:
            self.check()
        except WorkerError:
            return False
        return True

    def release(self) -> None:
        """Release the lock; its files stay."""
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def __enter__(self) -> ChainLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def try_lock(fd: int) -> bool:
    """Acquire the kernel's lock if no other process holds it; return whether it was acquired. Raises OSError."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # an SMB share answers EACCES
        return False
    return True


def _write_record(path: Path, owner: str, *, may_lack_record: bool) -> bool:
    """Write the owner's record durably; return False if there is no space and `may_lack_record`. Raises OSError.

    The old record is overwritten in place, which needs no space on most file systems. If that fails for want of space,
    the record is made empty, so that the former owner is fenced in this case, too.
    """
    record = {"podUID": owner, "since": datetime.now(UTC).isoformat(timespec="seconds")}
    data = json.dumps(record).encode()
    fd = -1
    try:
        fd = open_regular(path, _OPEN)
        if os.pwrite(fd, data, 0) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.ftruncate(fd, len(data))
        os.fsync(fd)
    except OSError as error:
        if not (may_lack_record and is_full(error)):
            raise
        if fd >= 0:
            os.ftruncate(fd, 0)
            os.fsync(fd)
        return False
    finally:
        if fd >= 0:
            os.close(fd)
    return True


def _record_of(lock: Path) -> Path:
    return lock.with_name(layout.OWNER)


def _owner_at(lock: Path) -> str:
    """Return the pod UID of the lock's owner. An earlier version has its record in the lock file itself."""
    try:
        place = lock if lock.stat(follow_symlinks=False).st_size else _record_of(lock)
        return _owner_in(read_regular(place, _RECORD_LIMIT)) or "(unknown)"
    except OSError:
        return "(unknown)"


def _owner_in(data: bytes) -> str:
    """Return the pod UID in a record; empty if `data` is not a record."""
    try:
        raw: Any = json.loads(data)
        return str(raw["podUID"])[:64]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
