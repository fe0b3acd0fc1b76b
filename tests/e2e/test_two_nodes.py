"""A repository on one node, and claims on another: two pods restore, and what they write is what the disks were."""

from __future__ import annotations

import subprocess

from tests.support import manifests
from tests.support.namespaces import wait_gone
from tests.support.objects import find_condition
from tests.support.points import History
from tests.support.vma import MIB, Disk
from tests.support.workspace import Workspace

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
