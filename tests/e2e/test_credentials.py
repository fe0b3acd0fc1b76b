"""vCenter's password is where it must be, in its Secret and in the appliance, and nowhere else."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Final

import httpx
from tests.support import chart, repositories
from tests.support.programs import engine
from tests.support.vma import MIB, Disk
from tests.support.workspace import Workspace

KINDS: Final = (
    "Backup", "BackupChain", "BackupRepository", "ProtectedVM", "VMwareAppliance",
    "Pod", "Job", "Service", "ConfigMap", "Event", "NetworkPolicy", "PersistentVolumeClaim",
)  # fmt: skip


def texts(space: Workspace) -> Iterator[tuple[str, str]]:
    """Everything that anybody could read, with where it is from."""
    for kind in KINDS:
        for obj in space.kube.select(kind):
            yield f"{kind} {obj['metadata'].get('namespace')}/{obj['metadata']['name']}", json.dumps(obj)
    pods = [*chart.pods(space.kube), *space.kube.select("Pod", space.namespace)]
    for pod in pods:
        meta = pod["metadata"]
        yield f"log of {meta['name']}", space.kube.logs(meta["name"], meta["namespace"])
    for name in space.folders["repo"].files("**/*.json"):
        yield name, (space.folders["repo"].path / name).read_text()


def arguments_and_environments(node: str) -> str:
    """Of all processes of a node, which are those of its pods too."""
    read = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; true"
    return engine("exec", node, "sh", "-c", read)


def spellings(password: str) -> list[str]:
    """As it is, as Secrets and URLs carry it."""
    encoded = base64.b64encode(password.encode()).decode()
    return [password, encoded, encoded.rstrip("="), httpx.URL("http://x", params={"p": password}).query.decode()[2:]]


def assert_nowhere(space: Workspace, password: str) -> None:
    found = [where for where, text in texts(space) if any(spelling in text for spelling in spellings(password))]
    assert found == []


def test_while_a_backup_runs_and_after_it(space: Workspace) -> None:
    space.ready(Disk("random", 16 * MIB))
    space.vma.fault("client", "rate", bytes_per_second=128 * 1024)
    space.backup()
    job = space.wait_copying()["job_id"]
    for node in repositories.worker_nodes(space.kube):
        # The appliance's own processes are outside of the product: it receives the password on its standard input.
        assert space.password not in arguments_and_environments(node)
    assert_nowhere(space, space.password)
    space.vma.command(job, "rate", bytes_per_second=1 << 30)
    space.wait_phase("Completed")
    assert_nowhere(space, space.password)


def test_when_it_goes_wrong(space: Workspace) -> None:
    """Errors carry what was asked for: the URL of the CBT query holds the password."""
    wrong = f"canary-{space.namespace}/+&%"
    space.add_secret(password=wrong)
    space.add_appliance()
    space.add_repository()
    space.add_vm("vm", Disk("pattern", 4 * MIB))
    space.wait_ready("repo", "BackupRepository")
    space.backup("refused")
    space.wait_phase("Failed", "refused")
    for path in ("cbt-status", "discover"):
        for mode in ("error", "garbage"):
            space.vma.fault(path, mode, count=0, body=f"trouble at {path}: {wrong}")
            name = f"{path}-{mode}"
            space.backup(name, startDeadlineSeconds=10)
            space.wait_phase("Failed", name)
            space.vma.clear_faults()
    assert_nowhere(space, wrong)
