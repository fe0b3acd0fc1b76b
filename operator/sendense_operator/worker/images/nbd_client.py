"""One thread's connection to a server of the worker itself. Errors of libnbd become WorkerErrors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sendense_operator.chain.merging import BASE_ZERO, Status, join_contexts
from sendense_operator.worker.errors import Reason, WorkerError

_ALLOCATION: Final = "base:allocation"
_DEPTH: Final = "qemu:allocation-depth"
"""Only of a server with `-A`."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

Buffer = bytes | bytearray | memoryview


class Connection:
    """A connection to the server at a Unix socket. All methods raise WorkerError, and all positions are in bytes."""

    def __init__(self, socket: Path, virtual_size: int, what: str) -> None:
        """Connect; `what`: the operation, for messages. Raises ImageCorrupt for a disk of another size."""
        import nbd  # noqa: PLC0415 - Debian's package, not on PyPI: only where qemu is too

        self._what, self._error, self._no_hole = what, nbd.Error, nbd.CMD_FLAG_NO_HOLE
        with self._errors("connecting"):
            self._handle = nbd.NBD()
            self._handle.add_meta_context(_ALLOCATION)
            self._handle.add_meta_context(_DEPTH)
            self._handle.connect_unix(str(socket))
            size = self._handle.get_size()
        if size != virtual_size:
            raise WorkerError(Reason.IMAGE_CORRUPT, f"{what}: a layer has {size} bytes instead of {virtual_size}")

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            reason = Reason.REPOSITORY_FULL if error.errnum in _FULL else Reason.EXPORT_FAILED
            raise WorkerError(reason, f"{self._what}: {action}: {error}") from error

    def read(self, start: int, length: int) -> bytearray:
        """Return the content of a range."""
        with self._errors(f"reading byte {start} of the disk"):
            data: bytearray = self._handle.pread(length, start)
        return data

    def write(self, data: Buffer, start: int) -> None:
        """Write `data` at `start`; it is durable only after a flush and an fsync of the file."""
        with self._errors(f"writing byte {start} of the disk"):
            self._handle.pwrite(data, start)

    def zero(self, start: int, length: int, *, hole: bool) -> None:
        """Let a range read as zeroes; `hole`: its storage may be given up. Without a layer below, that is safe."""
        with self._errors(f"zeroing byte {start} of the disk"):
            self._handle.zero(length, start, 0 if hole else self._no_hole)

    def is_zero(self, start: int, length: int) -> bool:
        """Return whether a range reads as zeroes, as far as that is known without reading it."""
        end = start + length
        while start < end:
            found = self._block_status(start, end - start).get(_ALLOCATION, [])
            if not found or not all(flags & BASE_ZERO for flags in found[1::2]):
                return False
            start += sum(found[::2])
        return True

    def statuses(self, start: int, length: int) -> Iterator[Status]:
        """Yield what is known of a range without gaps, in ascending order; only of a server with `-A`."""
        end = start + length
        while start < end:
            found = self._block_status(start, end - start)
            zeroes, depths = found.get(_ALLOCATION, []), found.get(_DEPTH, [])
            joined = list(join_contexts(start, end, zeroes, depths))
            if not joined:
                raise WorkerError(Reason.EXPORT_FAILED, f"{self._what}: no extents from byte {start} of the disk on")
            yield from joined
            start = joined[-1].end

    def _block_status(self, start: int, length: int) -> dict[str, list[int]]:
        """Return length and value of each extent by context."""
        found = dict[str, list[int]]()

        def add(context: str, _offset: int, extents: list[int], _error: object) -> None:
            found.setdefault(context, []).extend(extents)

        with self._errors(f"extents from byte {start} of the disk on"):
            self._handle.block_status(length, start, add)
        return found

    def flush(self) -> None:
        """Let the server hand all writes to the file."""
        with self._errors("flushing"):
            self._handle.flush()

    def close(self) -> None:
        """End the connection."""
        with self._errors("disconnecting"):
            self._handle.shutdown()
