"""`verifying.py SIZE RUNS`: seconds to verify a full of random data, and to read it with qemu-img, medians, by turns.

Runs in the operator's image. The layer is made by the worker's own code, as `layers.py` does it, and verified by the
worker's own run with the level Content. Both readers bypass the page cache.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from hack.bench.layers import Repository, plain_environment

from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Manifest, ManifestBackup, ManifestDisk, ManifestVM
from sendense_operator.task import PointReference, VerificationLevel, VerificationTask
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.repository_marker import init_repository
from sendense_operator.worker.verification.run_state import VerificationState
from sendense_operator.worker.verification.verification_run import run_verification

_PATHS: Final = ChainPaths("bench", "vm")
_UID: Final = "00000000-0000-4000-8000-000000000000"
_WRITE: Final = 4 << 20


class RandomRepository(Repository):
    """One whose layers are full of random data."""

    def _send(self, socket: Path, number: int) -> None:
        import nbd  # noqa: PLC0415 - Debian's package: only in the image

        handle = nbd.NBD()
        handle.connect_unix(str(socket))
        for offset in range(0, handle.get_size(), _WRITE):
            handle.pwrite(os.urandom(min(_WRITE, handle.get_size() - offset)), offset)
        handle.shutdown()


def _commit(root: Path, disk: ManifestDisk) -> None:
    at = datetime.now(UTC)
    manifest = Manifest(
        backup=ManifestBackup(name="b", uid=_UID, namespace="bench"),
        vm=ManifestVM(name="vm", vmware_name="vm", vmware_path="/DC/vm/vm"),
        repository_id=_UID, job_id="j", attempt=_UID, sequence=1, started=at, finished=at, tools={}, disks=(disk,),
    )  # fmt: skip
    place = root / _PATHS.manifests("b", _UID)[0]
    place.parent.mkdir(parents=True)
    place.write_bytes(manifest.to_json())


async def _verify(root: Path, size: int) -> float:
    task = VerificationTask(
        namespace="bench", vm="vm", chain="vm", repository_id=_UID, level=VerificationLevel.CONTENT,
        points=(PointReference(backup="b", backup_uid=_UID),),
    )  # fmt: skip
    settings = Settings(pod_uid=_UID, pod_ip="127.0.0.1", node_ip="", repository=root)
    began = time.monotonic()
    answer = await run_verification(settings, task, VerificationState(task, settings, Stopping()))
    seconds = time.monotonic() - began
    if (answer.results, answer.read_bytes) != ("v", size):
        raise ValueError(f"not verified: {answer}")
    return seconds


def convert(layer: Path, size: int) -> float:
    """Return the seconds to read a layer with those below it; its disk has `size` bytes."""
    target = f"driver=null-co,size={size}"
    began = time.monotonic()
    subprocess.run(
        ["qemu-img", "convert", "-n", "-T", "none", "-f", "qcow2", "--target-image-opts", str(layer), target],
        check=True,
        env=plain_environment(),
    )
    return time.monotonic() - began


async def measure(size: int, runs: int) -> tuple[float, float]:
    """Return the medians of `runs` verifications and as many conversions, in seconds."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
        root = Path(folder)
        init_repository(root, _UID, None)
        made = (await RandomRepository(root, size, size).add(1, None)).disk
        _commit(root, made)
        os.sync()
        converts, verifications = list[float](), list[float]()
        for _ in range(runs):
            converts.append(await asyncio.to_thread(convert, root / made.file, size))
            verifications.append(await _verify(root, size))
        return statistics.median(verifications), statistics.median(converts)


if __name__ == "__main__":
    print(*asyncio.run(measure(*map(int, sys.argv[1:3]))))
