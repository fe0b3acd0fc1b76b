"""Pods to which somebody appends containers: the worker alone decides, and its end frees what the backup took."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from tests.support import images
from tests.support.admission import foreign_container
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

FOREIGN: Final = "foreign"
STAYS: Final = ["sh", "-c", "trap 'exit 0' TERM; sleep 86400 & wait"]
OUTLIVES: Final = """
import signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
def is_there():
    try:
        socket.create_connection(("127.0.0.1", 8080), 1).close()
    except OSError:
        return False
    return True
while not is_there():
    time.sleep(0.2)
while is_there():
    time.sleep(0.2)
"""
"""Ends as soon as the worker has closed its status port, which all containers of a pod share."""
COMMANDS: Final = {
    "ends-first": ["sh", "-c", "exit 0"],
    "fails-first": ["sh", "-c", "exit 7"],
    "ends-last": ["python3", "-c", OUTLIVES],
    "never-ends": STAYS,
    "native": STAYS,
}
"""By the Backup's name, what the container does."""


def test_only_the_worker_counts(space: Workspace) -> None:
    """One after the other in a repository with one slot: each can start only when the one before has freed it."""
    space.ready(Disk("random", 4 * MIB), maxConcurrentBackups=1)
    space.wait_ready("repo", "BackupRepository")
    image = images.operator_image(space)
    for name, command in COMMANDS.items():
        container = {"name": FOREIGN, "image": image, "imagePullPolicy": "IfNotPresent", "command": command}
        with foreign_container(space.kube, space.namespace, container, native=name == "native"):
            space.backup(name)
            wait_for(f"a pod of {name} with two containers", partial(_both, space, name))
            space.wait_phase("Completed", name)
            wait_for(f"nothing of {name} running", partial(_over, space, name))
            if name == "never-ends":
                assert space.scan()["points"] == list(COMMANDS).index(name) + 1, "and the repository's own pods"
    for name in COMMANDS:
        images.assert_identical(space, name)


def _both(space: Workspace, name: str) -> None:
    pods = [_names(pod) for pod in space.workers(name)]
    until(any({FOREIGN, "worker"} <= found for found in pods), pods)


def _names(pod: dict[str, Any]) -> set[str]:
    return {item["name"] for field in ("containers", "initContainers") for item in pod["spec"].get(field, [])}


def _over(space: Workspace, name: str) -> None:
    """Its Job has ended or gone, no pod of it runs, and the repository's slot is free."""
    mine = [job for job in space.jobs() if job["metadata"]["labels"]["backup.sendense.io/backup"] == name]
    ends = [{item["type"] for item in job.get("status", {}).get("conditions", [])} for job in mine]
    until(all(found & {"Complete", "Failed"} for found in ends), ends)
    phases = [pod["status"].get("phase") for pod in space.workers(name)]
    until(not {"Pending", "Running"} & set(phases), phases)
    until(space.status("repo", "BackupRepository").get("activeBackups", 0) == 0, "a slot is taken")
