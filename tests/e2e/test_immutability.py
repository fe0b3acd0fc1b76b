"""Restore points that nobody removes or merges before their time."""

from __future__ import annotations

import pytest
from tests.support.objects import Obj
from tests.support.points import History
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import SLOW_MACHINE, Workspace

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.object_names import chain_name


@pytest.mark.timeout(900)
def test_immutable_restore_points(space: Workspace, history: History) -> None:
    """A deleted Backup waits with its restore point, which can be restored; what it depends on is not merged."""
    space.ready(Disk("pattern", 8 * MIB))
    history.keep_layers()
    history.backup("full")
    space.vma.write("vm", count=2, size=4096, seed="incr-1")
    history.increment("incr-1")
    space.kube.delete("Backup", "full", space.namespace)
    history.wait_removed(full="Needed")
    space.kube.merge("BackupRepository", "repo", space.namespace, {"spec": {"immutability": {"days": 30}}})
    space.vma.write("vm", count=2, size=4096, seed="incr-2")
    status = history.increment("incr-2")
    assert status["retainedUntil"] > status["completionTime"]
    space.kube.delete("Backup", "incr-2", space.namespace)
    message = space.wait_reason("RetainedUntil", "incr-2")
    assert status["retainedUntil"] in message
    history.wait_removed(full="Needed", incr_2="Immutable")
    assert space.get("incr-2")["metadata"]["finalizers"] == [names.FINALIZER_RESTORE_POINT]
    refuse_to_merge(history)
    assert len(space.folders["repo"].tombstones()) == 1
    history.assert_identical("incr-1", "incr-2")


def refuse_to_merge(history: History) -> None:
    """A consolidation on request leaves the layers below the immutable restore point alone, and says so."""
    space = history.space
    history.set_consolidation(mode="Manual")
    request = {"metadata": {"annotations": {names.ANNOTATION_CONSOLIDATE: "now"}}}
    space.kube.merge("BackupChain", chain_name("vm", "repo"), space.namespace, request)

    def probe() -> Obj:
        found: Obj = history.chain().get("consolidation", {})
        until(found.get("request") == "now" and not found.get("progress"), found)
        return found

    found = wait_for("the end of the consolidation", probe, timeout=SLOW_MACHINE)
    assert (found["left"], found.get("lastMerges", 0)) == ("Retained", 0)
