"""`restoring.py SIZE RUNS LAYERS`: seconds to restore a disk of 58% data, and to convert it, medians, by turns.

Prints the seconds of `qemu-img convert -t none` to a raw image, of the restore up to its proven image, of its part
before the read-back, of the restore of the same content in so many layers, and of a restore by two workers, of which
one serves the disk with TLS; then the megabytes of the one that restores alone.
Runs in the operator's image. The layers are made by the worker's own code, as `layers.py` does it, and restored by the
worker's own run.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from hack.bench.layers import Repository, peak, plain_environment

from sendense_operator.answer import Answer
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Manifest, ManifestBackup, ManifestDisk, ManifestVM
from sendense_operator.restore_task import IMAGE, TLS_KEYS, TLS_USER, RestoreDisk, RestoreTask, target_folder
from sendense_operator.task import PointReference, Stage
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.restore.nbd_serving import serve_point
from sendense_operator.worker.restore.receiving_run import run_receiver
from sendense_operator.worker.restore.restore_run import run_restore
from sendense_operator.worker.restore.restore_state import RestoreState
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.repository_marker import init_repository

_PATHS: Final = ChainPaths("bench", "vm")
_UID: Final = "00000000-0000-4000-8000-000000000000"
_HOST: Final = "127.0.0.1"
_WRITE: Final = 4 << 20
_DATA: Final = 58
"""Percent of the blocks of _WRITE bytes that are written in all layers together."""


class _LayeredRepository(Repository):
    """One whose layers together hold the same random data, each a part of it."""

    def __init__(self, root: Path, virtual_size: int, layers: int) -> None:
        super().__init__(root, virtual_size, virtual_size)
        self._layers = layers

    def _send(self, socket: Path, number: int) -> None:
        import nbd  # noqa: PLC0415 - Debian's package: only in the image

        handle = nbd.NBD()
        handle.connect_unix(str(socket))
        for block, offset in enumerate(range(0, handle.get_size(), _WRITE)):
            if block % 100 < _DATA and block % self._layers == number:
                handle.pwrite(os.urandom(min(_WRITE, handle.get_size() - offset)), offset)
        handle.shutdown()


class _TimedState(RestoreState):
    """Notes when the read-back begins."""

    read_back_began = 0.0

    def read_back(self, disk: RestoreDisk, left: int, what: str = "reading back") -> None:
        self.read_back_began = self.read_back_began or time.monotonic()
        super().read_back(disk, left, what)


async def _make(root: Path, size: int, layers: int) -> list[Manifest]:
    """Return the manifests of a new chain, the newest last."""
    init_repository(root, _UID, None)
    repository, below, manifests = _LayeredRepository(root, size, layers), None, list[Manifest]()
    for number in range(layers):
        below = await repository.add(number, below)
        manifests.append(_commit(root, below.disk, number))
    return manifests


def _commit(root: Path, disk: ManifestDisk, number: int) -> Manifest:
    at = datetime.now(UTC)
    manifest = Manifest(
        backup=ManifestBackup(name=f"b{number}", uid=f"{_UID[:-1]}{number}", namespace="bench"),
        vm=ManifestVM(name="vm", vmware_name="vm", vmware_path="/DC/vm/vm"), repository_id=_UID, job_id="j",
        attempt=_UID, sequence=number + 1, started=at, finished=at, tools={}, disks=(disk,),
    )  # fmt: skip
    place = root / _PATHS.manifests(manifest.backup.name, manifest.backup.uid)[0]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(manifest.to_json())
    return manifest


async def _restore(root: Path, point: Manifest, size: int) -> tuple[float, float]:
    """Return the seconds of a restore, and those up to its read-back."""
    return await _timed(
        run_restore, Settings(pod_uid=_UID, pod_ip=_HOST, node_ip="", repository=root), _task(point, size)
    )


async def _restore_apart(root: Path, point: Manifest, size: int) -> float:
    """Return the seconds of a restore from a worker that serves the disk already."""
    with tempfile.TemporaryDirectory() as keys:
        (Path(keys) / TLS_KEYS).write_text(f"{TLS_USER}:{secrets.token_hex(32)}\n")
        settings = Settings(pod_uid=_UID, pod_ip=_HOST, node_ip="", repository=root, tls_dir=Path(keys))
        task = _task(point, size, serve=True, serve_tls=True, serve_digests=True)
        state = RestoreState(task, settings, Stopping())
        sender = asyncio.create_task(serve_point(settings, task, state))
        try:
            while state.progress().stage is not Stage.SERVING:
                done, _ = await asyncio.wait([sender], timeout=0.05)
                if done:
                    raise ValueError(f"not served: {sender.result()}")
            seconds, _ = await _timed(run_receiver, settings, _task(point, size, sender=_HOST))
            return seconds
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)


def _task(point: Manifest, size: int, **changes: Any) -> RestoreTask:
    return RestoreTask(
        namespace="bench", restore="r", restore_uid=_UID, vm="vm", repository_id=_UID,
        point=PointReference(backup=point.backup.name, backup_uid=point.backup.uid),
        disks=(RestoreDisk(index=0, virtual_size=size, claim="c"),), **changes,
    )  # fmt: skip


async def _timed(run: Callable[..., Awaitable[Answer]], settings: Settings, task: RestoreTask) -> tuple[float, float]:
    """Return the seconds of a run that restores the disk into a new folder, and those up to its read-back."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
        (Path(folder) / target_folder(0)).mkdir()
        state = _TimedState(task, settings, Stopping())
        began = time.monotonic()
        answer = await run(replace(settings, targets=Path(folder)), task, state)
        seconds = time.monotonic() - began
        if answer.outcome != "Completed" or state.progress().stage is not Stage.VERIFYING:
            raise ValueError(f"not restored: {answer}")
        if (Path(folder) / target_folder(0) / IMAGE).stat().st_size != task.disks[0].virtual_size:
            raise ValueError("the image has another size")
        return seconds, state.read_back_began - began


def _convert(layer: Path) -> float:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
        began = time.monotonic()
        image = Path(folder) / IMAGE
        command = ["qemu-img", "convert", "-t", "none", "-f", "qcow2", "-O", "raw", str(layer), str(image)]
        subprocess.run(command, check=True, env=plain_environment())
        return time.monotonic() - began


async def measure(size: int, runs: int, layers: int) -> tuple[float, ...]:
    """Return the medians of `runs` turns, in seconds, and the worker's megabytes."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
        roots = [Path(folder) / name for name in ("single", "deep")]
        for root in roots:
            root.mkdir()
        single, deep = await _make(roots[0], size, 1), await _make(roots[1], size, layers)
        os.sync()
        converts, whole, copies, through, apart = (list[float]() for _ in range(5))
        for _ in range(runs):
            converts.append(await asyncio.to_thread(_convert, roots[0] / single[0].disks[0].file))
            seconds, copy = await _restore(roots[0], single[0], size)
            whole.append(seconds)
            copies.append(copy)
            through.append((await _restore(roots[1], deep[-1], size))[0])
            apart.append(await _restore_apart(roots[0], single[0], size))
        with peak() as seen:
            await _restore(roots[1], deep[-1], size)
        shutil.rmtree(roots[1])
        return (*map(statistics.median, (converts, whole, copies, through, apart)), seen[0] / 1e6)


if __name__ == "__main__":
    print(*asyncio.run(measure(*map(int, sys.argv[1:4]))))
