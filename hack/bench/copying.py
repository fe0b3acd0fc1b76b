"""How fast bytes get into the repository, against `qemu-img convert` of the same disk on the same file system."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support import images, manifests, nodes
from tests.support.vma import Disk
from tests.support.workspace import Workspace

GIB: Final = 1 << 30
_SIZE: Final = 4 * GIB
_DATA_RUNS: Final = 5
_FIXED_RUNS: Final = 5
PROBE_SECONDS: Final = 3600
"""Of the repositories here, which the tests have looked at every 10 s: the pod of a check would be part of a time."""
TIMEOUTS: Final = {"stallSeconds": 300, "reconnectSeconds": 120, "connectSeconds": 60, "requestSeconds": 30}


def data(space: Workspace) -> dict[str, float]:
    """Ratios and times of one large disk: medians, taken by turns so that what else the machine does hits both.

    The repository is on the appliance's own node: in the field the appliance has a machine of its own, while here two
    nodes would pay for each other's forwarding with the same two cores.
    """
    space.add_repository("near", node=nodes.with_the_vma(space.kube), probeIntervalSeconds=PROBE_SECONDS)
    space.add_vm("large", Disk("pattern", _SIZE, (("data_fraction", 0.58),)), track=True)
    space.wait_ready("large", "ProtectedVM")
    (source,) = space.disks["large"]
    converts, copies, wholes = [_convert(space, source)], list[float](), list[float]()
    for number in range(_DATA_RUNS):
        copy, whole = _back_up(space, f"large-{number}")
        copies.append(copy)
        wholes.append(whole)
        converts.append(_convert(space, source))
    # Apart from what is timed: the kubelet's own check of a pod costs the machine something.
    with _memory(space) as seen:
        _back_up(space, "large")
    images.assert_identical(space, "large", vm="large", repository="near")
    convert, copy, whole = map(statistics.median, (converts, copies, wholes))
    return {
        "data_ratio": convert / copy,
        "whole_ratio": convert / whole,
        "convert_seconds": convert,
        "copy_seconds": copy,
        "whole_seconds": whole,
        "worker_mb": max(seen, default=0.0),
    }


def _back_up(space: Workspace, name: str) -> tuple[float, float]:
    """Return seconds of its copy phase, and from apply to Completed."""
    started = time.monotonic()
    space.backup(name, vm="large", repository="near")
    status = space.wait_phase("Completed", name, timeout=600)
    whole = time.monotonic() - started
    return _copy_seconds(space, str(status["jobID"])), whole


def fixed(space: Workspace) -> dict[str, float]:
    """Return what a backup costs that has nothing to copy."""
    space.add_vm("empty", Disk("empty", GIB), track=True)
    space.wait_ready("empty", "ProtectedVM")
    taken = []
    for number in range(_FIXED_RUNS):
        started = time.monotonic()
        space.backup(f"empty-{number}", vm="empty")
        space.wait_phase("Completed", f"empty-{number}")
        taken.append(time.monotonic() - started)
    return {"fixed_seconds": statistics.median(taken)}


def restored(space: Workspace) -> dict[str, float]:
    """Return what a restore costs that has nothing to copy, apply to Completed."""
    space.add_vm("nothing", Disk("empty", GIB), track=True)
    space.wait_ready("nothing", "ProtectedVM")
    space.backup("nothing", vm="nothing")
    space.wait_phase("Completed", "nothing")
    taken = []
    for number in range(_FIXED_RUNS):
        name = f"nothing-{number}"
        space.add_claim(name)
        made = manifests.restore(name, space.namespace, source={"backupRef": {"name": "nothing"}}, claims={0: name})
        started = time.monotonic()
        space.kube.create(made)
        space.wait_phase("Completed", name, "Restore")
        taken.append(time.monotonic() - started)
    return {"restore_fixed_seconds": statistics.median(taken)}


def _convert(space: Workspace, source: Path) -> float:
    """Return seconds of QEMU's own copy into a QCOW2 in the repository's file system, its start-up not counted."""
    target = space.folders["repo"].path.parent / f"{space.namespace}-convert.qcow2"
    script = 'date +%s.%N; qemu-img convert -t none -f raw -O qcow2 "$1" "$2" && date +%s.%N; rm -f "$2"'
    reported = images.in_image(space, script, source, target)
    start, end = map(float, reported.split())
    return end - start


def _copy_seconds(space: Workspace, job: str) -> float:
    """By the appliance's own clock: from the disk's start to the answer to its report of completion."""
    (start,) = space.vma.events("disk_started", job=job)
    reports = [entry for entry in space.vma.log(kind="made", job=job) if entry["path"].endswith("/complete")]
    return float(reports[-1]["time"]) - float(start["time"])


@contextmanager
def _memory(space: Workspace) -> Iterator[list[float]]:
    """Megabytes that the worker's container has used (resident, as its kubelet sees it), sampled all the time."""
    seen: list[float] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(2):
            for pod in space.workers("large"):
                seen.extend(_resident(space, pod["spec"].get("nodeName", ""), pod["metadata"]["uid"]))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def _resident(space: Workspace, node: str, uid: str) -> Iterator[float]:
    if not node:
        return
    stats = space.kube.request("GET", f"api/v1/nodes/{node}/proxy/stats/summary").json()
    for pod in stats["pods"]:
        if pod["podRef"]["uid"] == uid:
            for container in pod.get("containers", []):
                if memory := container.get("memory", {}).get("rssBytes"):
                    yield memory / 1e6
