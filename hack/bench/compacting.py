"""`compacting.py SIZE RUNS`: what the compaction of an increment costs; three numbers, see `measure`.

Runs in the operator's image. The full has random data; the increment is all of the disk, as an appliance sends it that
joins what lies close together, with random 4 KiB changed in 5% of it. Both readers bypass the page cache.
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

from hack.bench.layers import BLOCK, Repository, peak
from hack.bench.verifying import RandomRepository, convert

from sendense_operator.chain import layout
from sendense_operator.chain.compaction import CompactionResult
from sendense_operator.chain.manifest import CHUNK
from sendense_operator.chain.parent_choice import ParentLayer
from sendense_operator.task import BackupType, Compaction
from sendense_operator.worker.images import nbd_export, qemu_tools
from sendense_operator.worker.images.layer_compaction import CompactionRun
from sendense_operator.worker.images.layer_verification import Examined, seal
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.storage.commit import no_step

_CHANGED: Final = 20
"""One in so many blocks is changed."""
_CLOSE_SECONDS: Final = 60.0


class _Increment:
    """One received increment on a full, which can be compacted again and again."""

    def __init__(self, root: Path, size: int, parent: ParentLayer) -> None:
        self._root, self._size, self._parent, self._choice = root, size, parent, ModeChoice()
        self._file = PurePosixPath(parent.disk.file).with_name("incr-20250101-000009.qcow2")
        self._kept = root / "received.qcow2"
        self.partial = root / layout.partial(self._file)
        self.changed = 0

    async def receive(self) -> None:
        """Write it through an export, as the appliance would."""
        await qemu_tools.create(self.partial, self._size, PurePosixPath(self._parent.disk.file).name)
        parent, increment = self._root / "parent.sock", self._root / "increment.sock"
        below = self._root / self._parent.disk.file
        servers = [
            await nbd_export.start(
                "parent",
                ["-r", "-k", str(parent)],
                lambda mode: qemu_tools.read_options(below, mode, 1),
                self._choice,
                self._root,
            ),
            await nbd_export.start(
                "increment",
                ["-k", str(increment)],
                lambda mode: qemu_tools.write_options(self.partial, mode, 2),
                self._choice,
                self._root,
            ),
        ]
        try:
            await asyncio.to_thread(self._send, parent, increment)
        finally:
            for server in servers:
                await server.close(_CLOSE_SECONDS)
        self.partial.rename(self._kept)

    def _send(self, source: Path, target: Path) -> None:
        import nbd  # noqa: PLC0415 - Debian's package: only in the image

        chance = random.Random(4711)
        old, new = nbd.NBD(), nbd.NBD()
        old.connect_unix(str(source))
        new.connect_unix(str(target))
        # All of it would be a full.
        for start in range(0, self._size - CHUNK, CHUNK):
            data = bytearray(old.pread(CHUNK, start))
            for at in range(0, CHUNK, BLOCK):
                if chance.randrange(_CHANGED) == 0:
                    data[at : at + BLOCK] = chance.randbytes(BLOCK)
                    self.changed += BLOCK
            new.pwrite(data, start)
        for handle in (old, new):
            handle.shutdown()

    async def seal(self) -> float:
        """Return the seconds for digests and compaction of what was received."""
        await asyncio.to_thread(self._restore)
        found = await qemu_tools.map_layer(self.partial, self._size, CHUNK, 2)
        run = CompactionRun(Compaction.AUTO, 0, no_step)
        began = time.monotonic()
        examined = Examined(found, BackupType.INCREMENTAL, None)
        sealed = await seal(self._root, self._file, 0, examined, self._parent, self._choice, self._root, run)
        seconds = time.monotonic() - began
        if (sealed.compaction, sealed.changed_bytes) != (CompactionResult.COMPACTED, self.changed):
            raise ValueError(f"not compacted: {sealed.compaction}, {sealed.changed_bytes} of {self.changed} bytes")
        return seconds

    def _restore(self) -> None:
        subprocess.run(["cp", "--sparse=always", str(self._kept), str(self.partial)], check=True)
        os.sync()

    def read_both(self) -> float:
        """Return the seconds to read the increment and its parent once."""
        self._restore()
        return convert(self.partial, self._size) + convert(self._root / self._parent.disk.file, self._size)


async def measure(size: int, runs: int) -> tuple[float, float, float]:
    """Return the medians in seconds of `runs` compactions and as many readings, and most megabytes of the first."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
        root = Path(folder)
        repository: Repository = RandomRepository(root, size, size)
        increment = _Increment(root, size, await repository.add(1, None))
        await increment.receive()
        compactions, readings = list[float](), list[float]()
        with peak() as seen:
            await increment.seal()
        for _ in range(runs):
            readings.append(await asyncio.to_thread(increment.read_both))
            compactions.append(await increment.seal())
        return statistics.median(compactions), statistics.median(readings), seen[0] / 1e6


if __name__ == "__main__":
    print(*asyncio.run(measure(*map(int, sys.argv[1:3]))))
