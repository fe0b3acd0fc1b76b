"""How fast a disk is copied, and what a backup costs beside that."""

from __future__ import annotations

import statistics
import threading
from pathlib import Path
from typing import Final

from hack.bench.scene import remove_backup, timed_backup
from tests.support import images, programs
from tests.support.kube import Kube
from tests.support.vma import Disk
from tests.support.workspace import Workspace

GIB: Final = 1 << 30
ROUNDS: Final = 3
EMPTY_ROUNDS: Final = 5
_RESIDENT = r"""
import os, re
total = 0
for pid in filter(str.isdigit, os.listdir("/proc")):
    if int(pid) != os.getpid():
        try:
            found = re.search(r"^VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read(), re.M)
        except OSError:
            continue
        total += int(found[1]) if found else 0
print(total)
"""


def measure_fixed(space: Workspace) -> dict[str, float]:
    """An empty disk of 1 GiB: nearly all of its time is what every backup costs."""
    space.add_vm("empty", Disk("empty", GIB))
    seconds = []
    for _ in range(EMPTY_ROUNDS):
        name, took = timed_backup(space, "empty")
        seconds.append(took)
        remove_backup(space, name)
    return {"fixed_seconds": statistics.median(seconds)}


def measure_copy(space: Workspace) -> dict[str, float]:
    """A disk of 4 GiB, 58% random data and the rest holes, in turn with `qemu-img convert` of the same file."""
    space.add_vm("data", Disk("pattern", 4 * GIB, (("data_fraction", 0.58),)))
    (source,) = space.disks["data"]
    rows = []
    for _ in range(ROUNDS):
        convert = _convert_seconds(space, source)
        with _Memory(space) as memory:
            name, whole = timed_backup(space, "data")
        rows.append((convert, _copy_seconds(space, name), whole, memory.peak))
        remove_backup(space, name)
    return {
        "data_ratio": statistics.median(convert / copy for convert, copy, _, _ in rows),
        "whole_ratio": statistics.median(convert / whole for convert, _, whole, _ in rows),
        "convert_seconds": statistics.median(convert for convert, *_ in rows),
        "copy_seconds": statistics.median(copy for _, copy, _, _ in rows),
        "whole_seconds": statistics.median(whole for _, _, whole, _ in rows),
        "worker_mb": max(peak for *_, peak in rows) / 1e6,
    }


def _convert_seconds(space: Workspace, source: Path) -> float:
    """`qemu-img convert -t none` into the repository's file system, fsync included, timed inside the container."""
    shared = programs.data()
    inside = f"/srv/sendense/{source.relative_to(shared)}"
    target = f"/srv/sendense/{(space.folders['repo'].path / 'convert.qcow2').relative_to(shared)}"
    script = (
        'start=$(date +%s.%N); qemu-img convert -t none -f raw -O qcow2 "$1" "$2" && sync "$2" && '
        'end=$(date +%s.%N); rm "$2"; echo "$start $end"'
    )
    told = programs.engine(
        "run", "--rm", "--network", "none", "--user", "0", "--volume", f"{shared}:/srv/sendense",
        "--entrypoint", "sh", images.operator_image(space), "-c", script, "convert", inside, target,
    )  # fmt: skip
    start, end = map(float, told.split())
    return end - start


def _copy_seconds(space: Workspace, name: str) -> float:
    """From the first byte of the copy to the answered `complete`, by the clock of the reference VMA."""
    job = space.status(name)["jobID"]
    (started,) = space.vma.events("disk_started", job=job)
    completes = [entry for entry in space.vma.log(kind="made", job=job) if str(entry["path"]).endswith("/complete")]
    return float(completes[-1]["time"]) - float(started["time"])


class _Memory:
    """Peak of the resident memory of a worker's processes, qemu-nbd included, while the block runs."""

    def __init__(self, space: Workspace) -> None:
        self.peak = 0
        self._space = space
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        kube = Kube.connect()  # a connection of this thread's own
        while not self._done.wait(1):
            for pod in kube.select("Pod", self._space.namespace, labels="backup.sendense.io/component=worker"):
                if pod["status"].get("phase") == "Running":
                    self._look(pod["metadata"]["name"])

    def _look(self, pod: str) -> None:
        try:
            told = programs.kubectl("exec", "-n", self._space.namespace, pod, "--", "python3", "-c", _RESIDENT)
        except programs.ProgramError:
            return  # it ended meanwhile
        self.peak = max(self.peak, int(told) * 1024)
