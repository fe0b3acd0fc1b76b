"""One writer a chain: `flock` on `<vm>/.lock`, and the owner's record in it.

The kernel's lock dies with its holder. A file system that forgets locks (a node that was away too long) is
why the record is read again right before each step of a commit: a worker that was thought dead and comes
back finds another owner there and stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sendense_operator.worker.files import ensure_folder
from sendense_operator.worker.reasons import Reason, WorkerError, storage_error

_RETRY_SECONDS = 0.25


class ChainLock:
    """A held lock; also a context manager that releases it."""

    def __init__(self, path: Path, owner: str, fd: int) -> None:
        self._path, self._owner, self._fd = path, owner, fd

    @classmethod
    def try_acquire(cls, path: Path, root: Path, owner: str) -> ChainLock | None:
        """The lock, or None while somebody else holds it. `owner`: pod UID. Raises WorkerError."""
        try:
            ensure_folder(path.parent, root)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        except OSError as error:
            raise storage_error(error, "opening the chain's lock") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            record = {"podUID": owner, "since": datetime.now(UTC).isoformat(timespec="seconds")}
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(record).encode(), 0)
            os.fsync(fd)
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError as error:
            os.close(fd)
            raise storage_error(error, "locking the chain") from error
        return cls(path, owner, fd)

    @classmethod
    async def acquire(cls, path: Path, root: Path, owner: str, wait: float) -> ChainLock:
        """The lock within `wait` seconds, else WorkerError ChainBusy with the owner's pod."""
        deadline = time.monotonic() + wait
        while True:
            lock = cls.try_acquire(path, root, owner)
            if lock is not None:
                return lock
            if time.monotonic() >= deadline:
                raise WorkerError(Reason.CHAIN_BUSY, f"pod {_owner_of(path)} is writing this chain")
            await asyncio.sleep(_RETRY_SECONDS)

    def check(self) -> None:
        """Raises WorkerError Fenced unless the lock is still ours: same file, same owner."""
        try:
            mine, there = os.fstat(self._fd), self._path.stat()
            same = (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
        except OSError as error:
            raise WorkerError(Reason.FENCED, f"the chain's lock is gone: {error.strerror}") from error
        owner = _owner_of(self._path)
        if not same or owner != self._owner:
            raise WorkerError(Reason.FENCED, f"the chain's lock now belongs to pod {owner}")

    def is_ours(self) -> bool:
        """`check` as a question."""
        try:
            self.check()
        except WorkerError:
            return False
        return True

    def release(self) -> None:
        """Let go; the file stays."""
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def __enter__(self) -> ChainLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _owner_of(path: Path) -> str:
    try:
        raw: Any = json.loads(path.read_bytes()[:4096])
        return str(raw["podUID"])[:64]
    except (OSError, ValueError, KeyError, TypeError):
        return "(unknown)"
