"""Makes VMs with disks by specification: sparse raw files, the same bytes for the same seed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from reference_vma.cbt import Area
from reference_vma.plan import SAMPLE, SECTOR, plan_full, sample_offsets, split

_PLAIN_ELEMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
_PIECE: Final = 1 << 20
_POOL: Final = 8 << 20
_STAMP_EVERY: Final = 64 << 10
_EXTENTS: Final = 256
_EXTENT_MAX: Final = 16 << 20
_HIDDEN_MAX: Final = 128 << 10
_FIRST_KEY: Final = 2000
_FILE_TIME: Final = 1_700_000_000
_NAMESPACE: Final = uuid.UUID("b5f0f9de-7d2f-4a1b-a0a2-7f3ac6f0a6a1")
KINDS: Final = ("empty", "random", "pattern", "hidden", "ext4")


class Noise:
    """Random bytes, the same for the same seed, at memory speed: slices of a pool, stamped so that no two are equal."""

    def __init__(self, seed: int | str) -> None:
        self.random = random.Random(seed)
        self._pool = self.random.randbytes(_POOL + _PIECE)

    def bytes(self, length: int) -> bytearray:
        """At most 1 MiB."""
        start = self.random.randrange(_POOL)
        piece = bytearray(self._pool[start : start + length])
        for at in range(0, length - 7, _STAMP_EVERY):
            piece[at : at + 8] = self.random.randbytes(8)
        return piece

    def fill(self, handle: int, areas: Iterable[Area]) -> None:
        """Write noise into areas of a file."""
        for offset, length in split(areas, _PIECE):
            os.pwrite(handle, self.bytes(length), offset)


def pattern_areas(virtual_size: int, fraction: float, extent: int, choose: random.Random) -> list[Area]:
    """Data in `fraction` of the disk's extents, chosen at random."""
    count = -(-virtual_size // extent)
    chosen = sorted(choose.sample(range(count), round(count * fraction)))
    return [(index * extent, min(extent, virtual_size - index * extent)) for index in chosen]


def default_extent(virtual_size: int) -> int:
    """Of a pattern: 256 extents or more, of at most 16 MiB, since the data of real disks lies together."""
    extent = _STAMP_EVERY
    while extent < _EXTENT_MAX and extent * 2 * _EXTENTS <= virtual_size:
        extent *= 2
    return extent


def hidden_areas(virtual_size: int, workers: int) -> Iterator[Area]:
    """Yield areas that lie between the samples of a full copy."""
    for block in (block for blocks in plan_full(virtual_size, workers) for block in blocks):
        samples = sample_offsets(block)
        for before, after in pairwise(samples):
            gap = after - before - SAMPLE
            length = min(_HIDDEN_MAX, gap // 2)
            if length >= SECTOR:
                yield before + SAMPLE + (gap - length) // 2, length


def make_disk(path: Path, spec: dict[str, Any], seed: str, workers: int) -> None:
    """Make one raw file. Raises ValueError for a bad specification, OSError."""
    kind, virtual_size = spec.get("kind", "empty"), spec.get("size")
    if kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}")
    if not isinstance(virtual_size, int) or virtual_size <= 0 or virtual_size % SECTOR:
        raise ValueError(f"size is a positive number of bytes, in sectors of {SECTOR}")
    with path.open("wb") as file:
        file.truncate(virtual_size)
        if kind == "ext4":
            make_ext4(path, spec, seed)
            return
        noise = Noise(seed)
        match kind:
            case "random":
                noise.fill(file.fileno(), [(0, virtual_size)])
            case "pattern":
                fraction = float(spec.get("data_fraction", 0.58))
                extent = int(spec.get("extent", default_extent(virtual_size)))
                noise.fill(file.fileno(), pattern_areas(virtual_size, fraction, extent, noise.random))
            case "hidden":
                noise.fill(file.fileno(), hidden_areas(virtual_size, workers))


def make_ext4(path: Path, spec: dict[str, Any], seed: str) -> None:
    """A file system with the files of a folder, or with generated ones. Raises ValueError, OSError."""
    program = shutil.which("mkfs.ext4", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if program is None:
        raise ValueError("mkfs.ext4 (package e2fsprogs) is not installed")
    with tempfile.TemporaryDirectory() as made:
        source = Path(spec["folder"]) if spec.get("folder") else Path(made)
        if not spec.get("folder"):
            make_sample_files(source, int(spec.get("files", 40)), spec["size"], seed)
        volume = str(uuid.uuid5(_NAMESPACE, seed))
        options = ["-q", "-F", "-U", volume, "-L", "sample", "-E", f"hash_seed={volume}", "-d", str(source)]
        done = subprocess.run([program, *options, str(path)], check=False, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"mkfs.ext4: {done.stderr.strip()}")


def make_sample_files(folder: Path, count: int, virtual_size: int, seed: str) -> None:
    """Text and binary files in a few folders, together at most a quarter of `virtual_size`."""
    noise = Noise(seed)
    largest = max(1024, min(256 << 10, virtual_size // 4 // max(count, 1)))
    for number in range(count):
        place = folder / ("etc", "home/ada", "home/linus/projects", "var/lib/db")[number % 4]
        place.mkdir(parents=True, exist_ok=True)
        if number % 3:
            path, content = place / f"data-{number:04}.bin", bytes(noise.bytes(noise.random.randint(1, largest)))
        else:
            path, content = place / f"notes-{number:04}.txt", f"File {number} of seed {seed}.\n".encode() * 50
        path.write_bytes(content)
    for path in folder.rglob("*"):
        os.utime(path, (_FILE_TIME, _FILE_TIME))


def vm_folder_name(vm_path: str) -> str:
    """Return where a VM's folder lies below the disks' root: as its path says, or under a hash for odd names."""
    elements = vm_path.strip("/").split("/")
    if vm_path.startswith("/") and all(_PLAIN_ELEMENT.fullmatch(element) for element in elements):
        return "/".join(elements)
    return "odd-names/" + hashlib.sha256(vm_path.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def make_vm(root: Path, spec: dict[str, Any], workers: int) -> Path:
    """Make a VM's folder, whole or not at all; an older one at its place goes. Raises ValueError, OSError."""
    description = describe_vm(spec)
    folder = root / vm_folder_name(description["path"])
    root.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
    try:
        for listed, disk in zip(description["disks"], spec.get("disks", []), strict=True):
            seed = f"{disk.get('seed', spec.get('seed', 1))}/{listed['key']}"
            make_disk(draft / listed["file"], disk, seed, workers)
            (draft / listed["file"]).chmod(0o666)
        (draft / "vm.json").write_text(json.dumps(description, indent=1))
        draft.chmod(0o777)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def describe_vm(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the vm.json of a specification. Raises ValueError."""
    name, path = spec.get("name"), spec.get("path")
    if not isinstance(name or path, str):
        raise ValueError("name or path is missing")
    path = path or f"/DC1/vm/{name}"
    name = name or path.rstrip("/").rsplit("/", 1)[-1]
    disks = spec.get("disks", [])
    if not isinstance(disks, list) or not all(isinstance(disk, dict) for disk in disks):
        raise ValueError("disks is a list of objects")
    keys = [int(disk.get("key", _FIRST_KEY + index)) for index, disk in enumerate(disks)]
    if len(set(keys)) < len(keys):
        raise ValueError("keys repeat")
    listed = [
        {"key": key, "file": f"disk-{key}.raw", "label": disk.get("label", f"Hard disk {index + 1}")}
        for index, (key, disk) in enumerate(zip(keys, disks, strict=True))
    ]
    others = {field: value for field, value in spec.items() if field not in ("disks", "seed", "track")}
    return {**others, "name": name, "path": path, "uuid": spec.get("uuid") or str(uuid.uuid4()), "disks": listed}


def random_ranges(virtual_size: int, count: int, low: int, high: int, choose: random.Random) -> list[Area]:
    """`count` ranges in whole sectors, of `low` to `high` bytes, anywhere on a disk."""
    ranges = []
    for _ in range(count):
        length = min(virtual_size, max(SECTOR, choose.randint(low, high) // SECTOR * SECTOR))
        ranges.append((choose.randrange((virtual_size - length) // SECTOR + 1) * SECTOR, length))
    return ranges


def write_ranges(path: Path, ranges: list[Area], seed: str, fill: str) -> None:
    """Overwrite ranges of a disk in place with noise or zeroes. Raises ValueError for one beyond its end."""
    virtual_size = path.stat().st_size
    if any(offset < 0 or length <= 0 or offset + length > virtual_size for offset, length in ranges):
        raise ValueError("a range lies outside of the disk")
    handle = os.open(path, os.O_WRONLY)
    try:
        if fill == "zero":
            for offset, length in split(ranges, _PIECE):
                os.pwrite(handle, bytes(length), offset)
        else:
            Noise(seed).fill(handle, ranges)
    finally:
        os.close(handle)
