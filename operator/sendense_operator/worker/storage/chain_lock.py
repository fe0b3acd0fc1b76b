"""One writer per chain: `flock` on `<vm>/.lock`, and the owner's record in `<vm>/.owner` beside it.

The kernel's lock dies with its holder. A file system that forgets locks (a node that was away too long) is
why the record is read again right before each step of a commit: a worker that was thought dead and comes
back finds another owner there and stops.

The record has a file of its own since a share of SMB refuses to read a locked file, to its holder too. Versions before
kept it in `.lock` itself, so that one is kept empty: an old holder that comes back does not find its name there any
more, and a new one finds out about an old one by the length alone.
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
    """A held lock; also a context manager that releases it."""

    def __init__(self, path: Path, owner: str, fd: int) -> None:
        """`owner`: what the record says; empty: the volume had no room for one."""
        self._path, self._owner, self._fd = path, owner, fd

    @classmethod
    def try_acquire(cls, path: Path, root: Path, owner: str, *, may_be_nameless: bool = False) -> ChainLock | None:
        """Return the lock, or None while somebody else holds it. `owner`: pod UID. Raises WorkerError.

        `may_be_nameless`: take it on a full volume too, where the owner's record finds no room. That is for who only
        removes what anybody may remove: nothing else makes room again.
        """
        try:
            ensure_folder(path.parent, root)
            fd = open_regular(path, _OPEN)
        except OSError as error:
            raise storage_error(error, "opening the chain's lock") from error
        try:
            if not _try_lock(fd):
                os.close(fd)
                return None
            os.ftruncate(fd, 0)
            named = _write_record(_record_of(path), owner, may_be_nameless=may_be_nameless)
        except OSError as error:
            os.close(fd)
            raise storage_error(error, "locking the chain") from error
        return cls(path, owner if named else "", fd)

    @classmethod
    async def acquire(cls, path: Path, root: Path, owner: str, wait: float) -> ChainLock:
        """Return the lock within `wait` seconds, else WorkerError ChainBusy with the owner's pod."""
        deadline = time.monotonic() + wait
        while True:
            lock = cls.try_acquire(path, root, owner)
            if lock is not None:
                return lock
            if time.monotonic() >= deadline:
                raise WorkerError(Reason.CHAIN_BUSY, f"pod {_owner_at(path)} is writing this chain")
            await asyncio.sleep(_RETRY_SECONDS)

    def check(self) -> None:
        """Raise WorkerError Fenced unless the lock is still ours: same file, same owner."""
        try:
            mine, there = os.fstat(self._fd), self._path.stat(follow_symlinks=False)
        except OSError as error:
            raise WorkerError(Reason.FENCED, f"the chain's lock is gone: {error.strerror}") from error
        same = (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
        if not same or there.st_size or not self._is_recorded():
            raise WorkerError(Reason.FENCED, f"the chain's lock now belongs to pod {_owner_at(self._path)}")

    def _is_recorded(self) -> bool:
        """Return whether the record is ours; of a nameless holder, whether there is still none."""
        try:
            found = read_regular(_record_of(self._path), _RECORD_LIMIT)
        except FileNotFoundError:
            return not self._owner
        except OSError:
            return False
        return _owner_in(found) == self._owner if self._owner else not found

    def before(self, _: str) -> None:
        """`check` for who tells each step before it is done."""
        self.check()

    def is_ours(self) -> bool:
        """`check` as a question."""
        try:
            self.check()
        except WorkerError:
            return False
        return True

    def release(self) -> None:
        """Let go; the files stay."""
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def __enter__(self) -> ChainLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _try_lock(fd: int) -> bool:
    """Return whether nobody else holds it. Raises OSError."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # a share of SMB says EACCES
        return False
    return True


def _write_record(path: Path, owner: str, *, may_be_nameless: bool) -> bool:
    """Say whose the chain is now, durably; False: there is no room for that. Raises OSError.

    What is there is overwritten, not cut first: on most file systems that needs no room. Without room the record
    becomes empty, so that whoever was here before is fenced all the same.
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
        if not (may_be_nameless and is_full(error)):
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
    """Return the pod UID of who has the lock. One of an older version has its record in the lock itself."""
    try:
        place = lock if lock.stat(follow_symlinks=False).st_size else _record_of(lock)
        return _owner_in(read_regular(place, _RECORD_LIMIT)) or "(unknown)"
    except OSError:
        return "(unknown)"


def _owner_in(data: bytes) -> str:
    """Empty: it is no record."""
    try:
        raw: Any = json.loads(data)
        return str(raw["podUID"])[:64]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
