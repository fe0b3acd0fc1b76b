"""`lasting.py SIZE INCREMENTS KEPT`: a chain that is consolidated for long; five numbers, see `measure`.

Runs in the operator's image. After each increment, which changes a twentieth of the disk in runs of 64 KiB at random
places, the oldest restore point but KEPT is removed and the chain consolidated by the worker's own run.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from hack.bench.layers import Repository
from hack.bench.verifying import convert

from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Manifest, ManifestBackup, ManifestDisk, ManifestVM
from sendense_operator.chain.parent_choice import ParentLayer, stack_of
from sendense_operator.consolidation_task import ConsolidationTask
from sendense_operator.task import Removal
from sendense_operator.worker.consolidation.consolidation_run import run_consolidation
from sendense_operator.worker.consolidation.consolidation_state import ConsolidationState
from sendense_operator.worker.images import qemu_tools
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.chain_folder import read_chain
from sendense_operator.worker.storage.repository_marker import init_repository
from sendense_operator.worker.storage.tombstones import entomb

_PATHS: Final = ChainPaths("bench", "vm")
_UID: Final = "00000000-0000-4000-8000-000000000000"
_START: Final = datetime(2025, 1, 1, tzinfo=UTC)
_RUN: Final = 64 << 10
_CHANGED: Final = 20
"""One in so many runs is changed."""
_READS: Final = 5


class _Chain(Repository):
    """One VM's chain with manifests."""

    def __init__(self, root: Path, size: int) -> None:
        init_repository(root, _UID, None)
        super().__init__(root, size, size)
        self.written = self.freed = self.removed = 0
        """Bytes that merges wrote, by which the chain became smaller, and of files that are gone."""
        self.deepest = 0

    def _send(self, socket: Path, number: int) -> None:
        import nbd  # noqa: PLC0415 - Debian's package: only in the image

        handle, chance = nbd.NBD(), random.Random(number)
        handle.connect_unix(str(socket))
        places = range(self._size // _RUN)
        for place in places if number == 1 else sorted(chance.sample(places, len(places) // _CHANGED)):
            handle.pwrite(chance.randbytes(_RUN), place * _RUN)
        handle.shutdown()

    def newest(self) -> ParentLayer | None:
        """Return the layer that the next increment is based on."""
        chain = read_chain(self._root, _PATHS)
        if not chain.points:
            return None
        manifest = chain.points[-1].manifest
        (disk,) = manifest.disks
        return ParentLayer(manifest, disk, stack_of(disk, [*chain.points, *chain.tombstones], _PATHS))

    async def back_up(self, number: int) -> None:
        """Add one more restore point."""
        made = await self.add(number, self.newest())
        self._commit(number, made.disk)
        self.deepest = max(self.deepest, len(made.stack))

    def _commit(self, number: int, disk: ManifestDisk) -> None:
        uid, at = f"{number:08}{_UID[8:]}", _START + timedelta(hours=number)
        manifest = Manifest(
            backup=ManifestBackup(name=f"b{number}", uid=uid, namespace="bench"),
            vm=ManifestVM(name="vm", vmware_name="vm", vmware_path="/DC/vm/vm"), repository_id=_UID, job_id="j",
            attempt=_UID, sequence=number, started=at, finished=at, tools={}, disks=(disk,),
        )  # fmt: skip
        place = self._root / _PATHS.manifests(manifest.backup.name, uid)[0]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(manifest.to_json())

    async def keep(self, count: int) -> None:
        """Remove the restore points before the newest `count`, and consolidate the chain."""
        for point in read_chain(self._root, _PATHS).points[:-count]:
            backup = point.manifest.backup
            entomb(self._root, _PATHS, Removal(vm="vm", backup=backup.name, backup_uid=backup.uid))
        before = self.stored()
        settings = Settings(pod_uid=_UID, pod_ip="127.0.0.1", node_ip="", repository=self._root)
        task = ConsolidationTask(namespace="bench", vm="vm", chain="vm", repository_id=_UID, min_free=0)
        state = ConsolidationState(task, settings, Stopping())
        answer = await run_consolidation(settings, task, state, lambda _: None)
        if answer.consolidated is None or answer.consolidated.left:
            raise ValueError(f"not consolidated: {answer}")
        after = self.stored()
        self.written += answer.consolidated.written_bytes
        self.freed += before - after
        self.removed += before - after + answer.consolidated.written_bytes

    def stored(self) -> int:
        """Return the bytes that its layers occupy."""
        return sum(path.stat().st_blocks * 512 for path in self._root.glob(f"{_PATHS.disk(0)}/*.qcow2"))

    def reading(self, top: ParentLayer) -> tuple[float, float]:
        """Return the seconds to read the newest restore point, and the same content in a fresh full; medians."""
        path, fresh = self._root / top.disk.file, self._root / "fresh.qcow2"
        command = ["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", "-o", qemu_tools.CREATE_OPTIONS, "-t", "none"]
        subprocess.run([*command, str(path), str(fresh)], check=True)
        taken = [(convert(path, self._size), convert(fresh, self._size)) for _ in range(_READS)]
        chain, single = zip(*taken, strict=True)
        return statistics.median(chain), statistics.median(single)


async def measure(size: int, increments: int, kept: int) -> tuple[float, float, float, float, float]:
    """Return five numbers of a chain of a full of `size` bytes and `increments` increments, of which `kept` are kept.

    Bytes that merges wrote per byte of the files that went; the same per byte by which the chain became smaller; stored
    bytes per byte of the disk and of the kept changes, most layers, and the time of a fresh full's reading per that of
    the chain's.
    """
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
        chain = _Chain(Path(folder), size)
        for number in range(1, increments + 2):
            await chain.back_up(number)
            if number > kept:
                await chain.keep(kept)
        wanted = size + (kept - 1) * size / _CHANGED
        top = chain.newest()
        if top is None:
            raise ValueError("no restore point")
        await chain.prove(top)
        together, single = await asyncio.to_thread(chain.reading, top)
        return (
            chain.written / chain.removed,
            chain.written / chain.freed,
            chain.stored() / wanted,
            chain.deepest,
            single / together,
        )


if __name__ == "__main__":
    print(*asyncio.run(measure(*map(int, sys.argv[1:4]))))
