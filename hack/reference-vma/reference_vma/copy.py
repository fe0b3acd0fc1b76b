"""How a disk gets into its export, and what happens when that fails."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from reference_vma.callbacks import Report
from reference_vma.cbt import Area
from reference_vma.exports import Export, ExportError
from reference_vma.gate import Gate
from reference_vma.meter import Meter
from reference_vma.plan import is_empty, looks_empty, split

_TRIES: Final = 4
_PRIVATE: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class CopyFailedError(Exception):
    """The copy of a disk failed for good."""


class DiskCopy:
    """Copies one disk with a few workers over one handle."""

    def __init__(
        self,
        source: int,
        export: Export,
        meter: Meter,
        gate: Gate,
        report: Report,
        *,
        request_bytes: int,
        retry_seconds: float,
        exact_zeroes: bool = False,
    ) -> None:
        """`source`: file descriptor of the snapshot's disk."""
        self._source = source
        self._export = export
        self._meter = meter
        self._gate = gate
        self._report = report
        self._request_bytes = request_bytes
        self._retry_seconds = retry_seconds
        self._empty = is_empty if exact_zeroes else looks_empty
        self._failures: list[str] = []
        self._refused = 0
        self._zeroes = mmap.mmap(-1, request_bytes, flags=_PRIVATE)  # never written: the kernel's zero page

    def full(self, plan: list[list[Area]]) -> None:
        """Copy everything: blocks that look empty as zeroes. Raises CopyFailedError after four tries."""
        self._run([partial(self._full_worker, blocks) for blocks in plan])
        if self._refused:
            self._report("event", event="zero_refused", count=self._refused)

    def increment(self, areas: list[Area], workers: int) -> None:
        """Copy areas, each byte of them. Raises CopyFailedError; see `Gate.deadlock` for a lost connection."""
        pieces = split(areas, self._request_bytes)
        lock = threading.Lock()

        def take() -> Iterator[Area]:
            while True:
                with lock:
                    piece = next(pieces, None)
                if piece is None:
                    return
                yield piece

        def worker(buffer: mmap.mmap) -> None:
            for piece in take():
                self._read_and_write(buffer, piece, tries=1)

        self._run([worker] * workers)

    def _run(self, workers: list[Callable[[mmap.mmap], None]]) -> None:
        def guarded(work: Callable[[mmap.mmap], None]) -> None:
            try:
                with mmap.mmap(-1, self._request_bytes, flags=_PRIVATE) as buffer:
                    buffer.madvise(mmap.MADV_HUGEPAGE)
                    work(buffer)
            except Exception as error:  # a worker that ends early must never look like one that is done
                self._failures.append(f"{type(error).__name__}: {error}")

        threads = [threading.Thread(target=guarded, args=(work,)) for work in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failures:
            raise CopyFailedError(self._failures[0])

    def _full_worker(self, blocks: list[Area], buffer: mmap.mmap) -> None:
        for block in blocks:
            if self._failures:
                return
            if self._empty(lambda count, offset: os.pread(self._source, count, offset), block):
                try:
                    self._gate.before(0)
                    self._export.zero(block[1], block[0])
                    self._meter.add(block[1])
                    continue
                except ExportError:
                    self._refused += 1
            for piece in split([block], self._request_bytes):
                self._read_and_write(buffer, piece, tries=_TRIES)

    def _read_and_write(self, buffer: mmap.mmap, piece: Area, tries: int) -> None:
        offset, length = piece
        hole = not self._gate.corrupts and self._is_hole(piece)
        with memoryview(self._zeroes if hole else buffer) as whole, whole[:length] as data:
            if not hole and os.preadv(self._source, [data], offset) != length:
                raise CopyFailedError(f"short read at {offset}")
            self._gate.corrupt(data, offset)
            self._gate.before(length)
            self._write(data, offset, tries)
        self._meter.add(length)

    def _is_hole(self, piece: Area) -> bool:
        """Return whether the file holds nothing there: what a read would yield needs no reading."""
        offset, length = piece
        try:
            return os.lseek(self._source, offset, os.SEEK_DATA) >= offset + length
        except OSError:
            return True  # nothing up to the end

    def _write(self, data: memoryview, offset: int, tries: int) -> None:
        for attempt in range(1, tries + 1):
            try:
                self._export.write(data, offset)
                return
            except ExportError as error:
                # A retry reuses the handle, dead or not.
                self._report("event", event="write_retry", attempt=attempt, offset=offset, error=str(error))
                if attempt == tries:
                    raise CopyFailedError(str(error)) from error
                time.sleep(self._retry_seconds)
