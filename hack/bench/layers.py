"""`layers.py SIZE DEPTH STEP`: most megabytes that a worker needs for a disk. Runs in the operator's image.

All that touches the layers is the worker's own code: each layer is created, served, written (4 KiB in each STEP bytes),
examined and sealed on those below, and the last one is proven with its content as the next increment would do it.
What is counted is resident in this process, which is the worker then, and in the programs that it started.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Final, cast

from sendense_operator.chain import layout
from sendense_operator.chain.manifest import Manifest, ManifestBackup, ManifestDisk
from sendense_operator.chain.parent_choice import LayerPlan, ParentLayer
from sendense_operator.task import ALLOCATOR, BackupType, TaskDisk
from sendense_operator.worker import main
from sendense_operator.worker.images import nbd_export, qemu_tools
from sendense_operator.worker.images.layer_verification import Arrival, examine, seal
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.proof import prove

assert main.__name__  # a worker has all of its modules in memory

BLOCK: Final = 4096
_FOLDER: Final = PurePosixPath("bench/vm/disk-0")
_UID: Final = "00000000-0000-4000-8000-000000000000"
_CLOSE_SECONDS: Final = 60.0
_SAMPLE_SECONDS: Final = 0.05


class Repository:
    """One disk's chain in an empty folder."""

    def __init__(self, root: Path, virtual_size: int, step: int) -> None:
        self._root, self._size, self._step = root, virtual_size, step
        self._choice = ModeChoice()
        # All that a proof takes from it is the name.
        named = SimpleNamespace(backup=ManifestBackup(name="b", uid=_UID, namespace="bench"))
        self._manifest = cast("Manifest", named)
        (root / _FOLDER).mkdir(parents=True)

    async def add(self, number: int, below: ParentLayer | None) -> ParentLayer:
        """Return one more layer, committed but for its manifest."""
        disk = TaskDisk(index=0, key=2000, virtual_size=self._size, port=10809)
        plan = LayerPlan(disk, _FOLDER, below)
        file = _FOLDER / f"{'incr' if below else 'full'}-20250101-{number:06}.qcow2"
        path = self._root / layout.partial(file)
        await qemu_tools.create(path, self._size, plan.backing)
        await self._write(path, plan, number)
        examined = await examine(self._root, file, plan, Arrival(None, False, None))
        sealed = await seal(self._root, file, 0, examined, below, self._choice, self._root)
        for each in (file, layout.digests_of(file)):
            (self._root / layout.partial(each)).rename(self._root / each)
        parent = below.describe() if below else None
        made = ManifestDisk(
            index=0, key=2000, type=BackupType.INCREMENTAL if below else BackupType.FULL, file=str(file),
            virtual_size=self._size, stored_bytes=sealed.stored_bytes, guest_bytes=examined.layer.guest_bytes,
            coverage=examined.layer.coverage, received_bytes=None, change_id=f"52 00/{number}", parent=parent,
            depth=plan.layers, digest=sealed.digest,
        )  # fmt: skip
        return ParentLayer(self._manifest, made, (made, *(below.stack if below else ())))

    async def _write(self, path: Path, plan: LayerPlan, number: int) -> None:
        socket = self._root / "bench.sock"
        server = await nbd_export.start(
            "bench",
            ["-k", str(socket)],
            lambda mode: qemu_tools.serve_options(path, mode, True, plan.layers),
            self._choice,
            self._root,
        )
        try:
            await asyncio.to_thread(self._send, socket, number)
        finally:
            await server.close(_CLOSE_SECONDS)
            socket.unlink(missing_ok=True)

    def _send(self, socket: Path, number: int) -> None:
        import nbd  # noqa: PLC0415 - Debian's package: only in the image

        handle = nbd.NBD()
        handle.connect_unix(str(socket))
        for start in range(0, self._size, self._step):
            offset = start + number * 7 * BLOCK * 37 % self._step // BLOCK * BLOCK
            handle.pwrite(bytes([1 + number % 255]) * BLOCK, offset)
        handle.shutdown()

    async def prove(self, top: ParentLayer) -> None:
        """As before an increment on `top`."""
        await prove(self._root, top, True, self._choice, self._root, lambda _: None)


def plain_environment() -> dict[str, str]:
    """Return the environment for what workers are compared with: without their allocator, as users run it."""
    return {name: value for name, value in os.environ.items() if name not in ALLOCATOR}


@contextmanager
def peak() -> Iterator[list[int]]:
    """A list whose one number is the most bytes that were resident in this process and those below it."""
    seen, done = [0], threading.Event()

    def sample() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            seen[0] = max(seen[0], sum(map(_resident, _family())))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def _family() -> Iterator[int]:
    parents = dict[int, int]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    for process in parents:
        at = process
        while at not in (0, os.getpid()):
            at = parents.get(at, 0)
        if at:
            yield process


def _resident(process: int) -> int:
    """Return the proportional set size in bytes: a starting program shares all pages of this one for a moment."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


async def measure(virtual_size: int, depth: int, step: int) -> float:
    """Return megabytes for a disk of `virtual_size` bytes in `depth` layers, one block written in each `step` bytes."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
        repository = Repository(Path(folder), virtual_size, step)
        with peak() as seen:
            top = None
            for number in range(depth):
                top = await repository.add(number, top)
            if top is None:
                raise ValueError("no layer")
            await repository.prove(top)
        return seen[0] / 1e6


if __name__ == "__main__":
    print(asyncio.run(measure(*map(int, sys.argv[1:4]))))
