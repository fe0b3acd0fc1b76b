"""Restores whose claims are on different nodes."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.wiring.rig import Rig
from tests.wiring.test_restores import add_claim, create, is_over, jobs, message, phase, protected, ready

from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import ForbiddenError


def node(rig: Rig, name: str) -> None:
    labels = {"kubernetes.io/hostname": name}
    metadata = {"name": name, "uid": sample.uid_of("Node", name), "labels": labels}
    rig.world.cluster.put(kinds.NODE, {"metadata": metadata, "status": {}})


def volume(rig: Rig, name: str, node: str) -> None:
    term: Obj = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    affinity = {"required": {"nodeSelectorTerms": [term]}}
    rig.world.cluster.put(kinds.VOLUME, {"metadata": {"name": name}, "spec": {"nodeAffinity": affinity}})


async def placed(repository: str, target: str) -> Rig:
    """Return a rig whose repository and whose claim `far` have volumes of these nodes."""
    rig = await protected(("ReadWriteMany",))
    for name in ("n1", "n2"):
        node(rig, name)
    volume(rig, "pv-1", repository)
    volume(rig, "pv-2", target)
    add_claim(rig, "far", volumeName="pv-2")
    return rig


async def test_nothing_is_started_where_no_node_can_mount_both() -> None:
    rig = await placed("n1", "n2")
    create(rig, backup="b2", claim="far")
    await is_over(rig)
    assert (phase(rig), ready(rig)[1]) == ("Failed", "NoCommonNode")
    assert "claim store-claim on n1; claim far on n2" in message(rig)
    assert jobs(rig) == []


async def test_one_node_is_enough() -> None:
    rig = await placed("n1", "n1")
    create(rig, backup="b2", claim="far")
    await is_over(rig)
    assert phase(rig) == "Completed"


@pytest.mark.parametrize("kind", [kinds.VOLUME, kinds.NODE])
async def test_without_the_rights_the_scheduler_decides(kind: kinds.Kind) -> None:
    rig = await placed("n1", "n2")
    rig.world.cluster.failing = lambda verb, what: ForbiddenError("no") if what == kind else None
    create(rig, backup="b2", claim="far")
    await rig.run(lambda: bool(jobs(rig)))
