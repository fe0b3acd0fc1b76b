"""Changed block tracking by content: one hash per 64 KiB, a list of them per change number of each disk."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHUNK: Final = 64 << 10
MERGE_GAP: Final = 1 << 20
"""Changes that lie at most this far apart become one area."""
_DIGEST: Final = 16
_PIECE: Final = 8 << 20
_SETTLED_NS: Final = 1_000_000_000
"""A file changed more recently than this may change again without a new time stamp."""

Area = tuple[int, int]
"""Offset and length in bytes."""


class ChangeIdRefusedError(Exception):
    """The change id is none of this disk's."""


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()


def _data_extents(handle: int, virtual_size: int) -> Iterator[Area]:
    """Parts of a file that are not holes, widened to whole pieces."""
    position = 0
    while position < virtual_size:
        try:
            data = os.lseek(handle, position, os.SEEK_DATA)
        except OSError:
            return  # holes up to the end
        start = max(position, data - data % _PIECE)
        hole = os.lseek(handle, data, os.SEEK_HOLE)
        position = min(virtual_size, -(-hole // _PIECE) * _PIECE)
        yield start, position - start


def hash_file(path: Path, virtual_size: int) -> bytes:
    """Return the hashes of all chunks of a disk, 16 bytes each."""
    count = -(-virtual_size // CHUNK)
    zero = _digest(bytes(CHUNK))
    hashes = bytearray(zero * count)
    if virtual_size % CHUNK:
        hashes[-_DIGEST:] = _digest(bytes(virtual_size % CHUNK))
    handle = os.open(path, os.O_RDONLY)

    def piece(area: Area) -> None:
        data = memoryview(os.pread(handle, area[1], area[0]))
        for at in range(0, len(data), CHUNK):
            index = (area[0] + at) // CHUNK
            hashes[index * _DIGEST : (index + 1) * _DIGEST] = _digest(data[at : at + CHUNK])

    try:
        pieces = [
            (offset + at, min(_PIECE, length - at))
            for offset, length in _data_extents(handle, virtual_size)
            for at in range(0, length, _PIECE)
        ]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(piece, pieces))
    finally:
        os.close(handle)
    return bytes(hashes)


def changed_areas(old: bytes, new: bytes, virtual_size: int) -> list[Area]:
    """Chunks whose hashes differ (or that are new), neighbours joined."""
    areas: list[Area] = []
    stride = 1024 * _DIGEST
    for base in range(0, len(new), stride):
        if old[base : base + stride] == new[base : base + stride]:
            continue
        for at in range(base, min(base + stride, len(new)), _DIGEST):
            if old[at : at + _DIGEST] != new[at : at + _DIGEST]:
                offset = at // _DIGEST * CHUNK
                areas.append((offset, min(CHUNK, virtual_size - offset)))
    return merge_areas(areas, gap=0)


def merge_areas(areas: list[Area], gap: int = MERGE_GAP) -> list[Area]:
    """Merge sorted areas that are at most `gap` bytes apart, including what lies between."""
    merged: list[Area] = []
    for offset, length in areas:
        if merged and offset - sum(merged[-1]) <= gap:
            merged[-1] = (merged[-1][0], offset + length - merged[-1][0])
        else:
            merged.append((offset, length))
    return merged


def new_disk_uuid() -> str:
    """Return a change UUID in vCenter's own spelling."""
    digits = secrets.token_hex(16)
    pairs = [digits[at : at + 2] for at in range(0, 32, 2)]
    return " ".join(pairs[:8]) + "-" + " ".join(pairs[8:])


def vm_folder(base: Path, vm_uuid: str) -> Path:
    """Return the folder of one VM; its UUID is untrusted text."""
    return base / hashlib.sha256(vm_uuid.encode("utf-8", "surrogatepass")).hexdigest()[:24]


@contextmanager
def vm_lock(state_dir: Path, vm_uuid: str) -> Iterator[None]:
    """Holds off snapshots and writes through the control API from each other."""
    folder = vm_folder(state_dir, vm_uuid)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def file_stamp(path: Path) -> list[int] | None:
    """Equal stamps mean equal content; None when the file changed too recently to tell."""
    stat = path.stat()
    if time.time_ns() - stat.st_ctime_ns < _SETTLED_NS:
        return None
    return [stat.st_ino, stat.st_size, stat.st_ctime_ns]


@dataclass
class DiskTracking:
    """Change tracking of one disk, kept in a folder."""

    folder: Path
    uuid: str
    number: int
    stamp: list[int] | None

    @classmethod
    def load(cls, state_dir: Path, vm_uuid: str, key: int) -> DiskTracking:
        """Return what is recorded of a disk, or a fresh record without a number."""
        folder = vm_folder(state_dir, vm_uuid) / str(key)
        try:
            raw = json.loads((folder / "state.json").read_text())
            return cls(folder, raw["uuid"], raw["number"], raw["stamp"])
        except (OSError, ValueError, KeyError):
            return cls(folder, new_disk_uuid(), 0, None)

    @property
    def change_id(self) -> str:
        """`UUID/NUMBER`, or "" before the first snapshot."""
        return f"{self.uuid}/{self.number}" if self.number else ""

    def _hashes_file(self, number: int) -> Path:
        return self.folder / f"hashes-{number}.bin"

    def record(self, content: Path, virtual_size: int, stamp: list[int] | None) -> None:
        """Hash a snapshot's content; the number rises when it differs from what was recorded last.

        `stamp` is `file_stamp` of the disk, taken before the snapshot.
        """
        if self.number and stamp is not None and stamp == self.stamp:
            return
        hashes = hash_file(content, virtual_size)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.number or hashes != self._hashes_file(self.number).read_bytes():
            self.number += 1
            self._hashes_file(self.number).write_bytes(hashes)
        self.stamp = stamp
        self._save()

    def forget(self) -> None:
        """Every change id reported so far is refused from now on; the UUID and the content stay what they are."""
        if not self.number:
            return
        hashes = self._hashes_file(self.number).read_bytes()
        for file in self.folder.glob("hashes-*.bin"):
            file.unlink()
        self.number += 1
        self._hashes_file(self.number).write_bytes(hashes)
        self._save()

    def _save(self) -> None:
        state = self.folder / "state.json.new"
        state.write_text(json.dumps({"uuid": self.uuid, "number": self.number, "stamp": self.stamp}))
        state.rename(self.folder / "state.json")

    def areas_since(self, change_id: str, number: int, virtual_size: int) -> list[Area]:
        """Return the areas that differ between an earlier change id and the snapshot `number`.

        Raises ChangeIdRefusedError when the id is not of this disk or its number is unknown.
        """
        uuid, _, old = change_id.partition("/")
        if uuid != self.uuid or not old.isascii() or not old.isdigit() or not 0 < int(old) <= number:
            raise ChangeIdRefusedError(f"change id {change_id!r} is unknown for this disk")
        try:
            before = self._hashes_file(int(old)).read_bytes()
        except OSError as error:
            raise ChangeIdRefusedError(f"change id {change_id!r} is unknown for this disk") from error
        return changed_areas(before, self._hashes_file(number).read_bytes(), virtual_size)
