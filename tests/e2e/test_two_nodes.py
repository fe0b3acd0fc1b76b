"""A repository on one node, and claims on another: two pods restore, and what they write is what the disks were."""

from __future__ import annotations

import subprocess

from tests.support import manifests
from tests.support.namespaces import wait_gone
from tests.support.objects import find_condition
from tests.support.points import History
from tests.support.programs import kubectl
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import SLOW_MACHINE, Workspace

ODD = Disk("pattern", 9 * MIB + 1536)
SPARSE = Disk("hidden", 64 * MIB)


def test_claims_on_another_node_than_the_repository(space: Workspace, history: History) -> None:
    space.ready(ODD, SPARSE)
    history.backup("full")
    claims = {0: "far-0", 1: "far-1"}
    for claim in claims.values():
        space.add_claim(claim, node=1)
    source = {"backupRef": {"name": "full"}}
    space.kube.create(manifests.restore("far", space.namespace, source=source, claims=claims))
    space.wait_reason("SenderStarting", "far", "Restore")
    status = space.wait_phase("Completed", "far", "Restore")
    for index, claim in claims.items():
        (image,) = space.folders[claim].path.iterdir()
        subprocess.run(["cmp", str(history.kept["full"][index]), str(image)], check=True)
    assert find_condition(status, "Ready")["reason"] == "Restored"
    assert status["attempts"] == 1
    assert status["nodeName"] != space.status("full")["nodeName"]
    wait_gone(space.kube, "Job", status["senderJob"], space.namespace)
    space.kube.delete("Restore", "far", space.namespace)
    wait_gone(space.kube, "Restore", "far", space.namespace)


def test_a_sender_that_is_killed(space: Workspace, history: History) -> None:
    """Its successor serves the next attempt, which continues the image."""
    space.ready(Disk("random", 1024 * MIB))
    history.backup("full")
    space.add_claim("far-0", node=1)
    source = {"backupRef": {"name": "full"}}
    space.kube.create(manifests.restore("far", space.namespace, source=source, claims={0: "far-0"}))

    def writes() -> None:
        stage = space.status("far", "Restore").get("stage")
        until(stage == "Restoring", stage)

    wait_for("the restore to write", writes, timeout=SLOW_MACHINE)
    sender = space.status("far", "Restore")["senderJob"]
    (pod,) = space.kube.select("Pod", space.namespace, labels=f"job-name={sender}")
    kubectl("delete", "pod", "-n", space.namespace, pod["metadata"]["name"], "--grace-period=0", "--force")
    status = space.wait_phase("Completed", "far", "Restore")
    assert status["attempts"] == 2
    assert status["lastFailure"].startswith("SenderLost: ")
    (image,) = space.folders["far-0"].path.iterdir()
    subprocess.run(["cmp", str(history.kept["full"][0]), str(image)], check=True)
