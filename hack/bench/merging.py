"""`merging.py SIZE LENGTH RUNS`: what a merge of two layers costs; ten numbers, see `measure`.

Runs in the operator's image. The disk has four times SIZE, and each of its three layers SIZE bytes of random data in
runs of LENGTH at random places. Merged are the two increments, and the full with the lower one; what is compared is
`cp` with fsync of the file that comes out. Nothing is read from the page cache.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path, PurePosixPath
from typing import Final

from hack.bench.layers import Repository, peak
from hack.bench.verifying import convert

from sendense_operator.chain import layout
from sendense_operator.chain.digests import Chunks
from sendense_operator.chain.parent_choice import ParentLayer
from sendense_operator.worker.images import qemu_tools
from sendense_operator.worker.images.layer_merge import Merge, merge_layers
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.storage.digest_file import DigestFile

_DISK: Final = 4
"""Times the data of one layer."""


class _Unlimited:
    """A pace without a limit."""

    def before_chunk(self) -> None:
        pass

    def take(self, count: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass


class _RunsRepository(Repository):
    """One whose layers have runs of random data at random places."""

    def __init__(self, root: Path, data: int, length: int) -> None:
        super().__init__(root, _DISK * data, length)
        self._places, self._length = data // length, length

    def _send(self, socket: Path, number: int) -> None:
        import nbd  # noqa: PLC0415 - Debian's package: only in the image

        chance = random.Random(number)
        handle = nbd.NBD()
        handle.connect_unix(str(socket))
        for place in sorted(chance.sample(range(_DISK * self._places), self._places)):
            handle.pwrite(os.urandom(self._length), place * self._length)
        handle.shutdown()


class _Merging:
    """One merge, which can be done again and again."""

    def __init__(self, root: Path, top: ParentLayer) -> None:
        target = root / layout.partial(layout.merged_of(PurePosixPath(top.disk.file)))
        self.plan = Merge(root, top.stack, 1, target)

    async def run(self) -> float:
        """Return the seconds that it takes."""
        self.plan.target.unlink(missing_ok=True)
        os.sync()
        root, disk = self.plan.root, self.plan.stack[0]
        for layer in self.plan.stack:
            _forget(root / layer.file)
        chunks = Chunks(disk.virtual_size, disk.digest.chunk)
        began = time.monotonic()
        with DigestFile.open(root / disk.digest.list, chunks) as digests:
            await merge_layers(self.plan, digests, _Unlimited(), ModeChoice(), root, "bench")
        return time.monotonic() - began

    def copy(self) -> float:
        """Return the seconds that a copy of what came out takes."""
        copy = self.plan.target.with_name("copy")
        copy.unlink(missing_ok=True)
        os.sync()
        _forget(self.plan.target)
        began = time.monotonic()
        subprocess.run(["cp", "--reflink=never", str(self.plan.target), str(copy)], check=True)
        subprocess.run(["sync", str(copy)], check=True)
        seconds = time.monotonic() - began
        copy.unlink()
        return seconds

    def reads(self, size: int, runs: int) -> tuple[float, float]:
        """Return the seconds to read what came out with the layers below, and the same content in a fresh full."""
        fresh = self.plan.target.with_name("fresh")
        options = qemu_tools.CREATE_OPTIONS
        command = ["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", "-o", options, "-t", "none"]
        subprocess.run([*command, str(self.plan.target), str(fresh)], check=True)
        taken = [(convert(self.plan.target, size), convert(fresh, size)) for _ in range(runs)]
        fresh.unlink()
        merged, single = zip(*taken, strict=True)
        return statistics.median(merged), statistics.median(single)


def _forget(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


async def _measure(merging: _Merging, size: int, runs: int) -> list[float]:
    with peak() as seen:
        await merging.run()
    merges, copies = list[float](), list[float]()
    for _ in range(runs):
        merges.append(await merging.run())
        copies.append(await asyncio.to_thread(merging.copy))
    merged, single = await asyncio.to_thread(merging.reads, size, runs)
    merging.plan.target.unlink()
    return [statistics.median(merges), statistics.median(copies), merged, single, seen[0] / 1e6]


async def measure(data: int, length: int, runs: int) -> list[float]:
    """Return five numbers for two increments, and the same for a full with an increment.

    Medians in seconds of `runs` merges, of as many copies, of readings of what came out and of a fresh full; and most
    megabytes of a merge.
    """
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
        root = Path(folder)
        repository = _RunsRepository(root, data, length)
        full = await repository.add(1, None)
        lower = await repository.add(2, full)
        upper = await repository.add(3, lower)
        found = [await _measure(_Merging(root, top), _DISK * data, runs) for top in (upper, lower)]
        return [number for numbers in found for number in numbers]


if __name__ == "__main__":
    print(*asyncio.run(measure(*map(int, sys.argv[1:4]))))
