"""Claims of Restores: which can receive a disk, which are in use, and those that a Restore makes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import sample
from tests.wiring.ending import Ending
from tests.wiring.rig import Rig
from tests.wiring.test_restores import add_claim, create, is_over, jobs, message, phase, protected, ready, restore

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import ForbiddenError


@pytest.mark.parametrize(
    ("claim", "reason", "words"),
    [
        ({"size": "1Gi"}, "", ""),
        ({"size": "1023Mi"}, "ClaimTooSmall", "claim target has 1023 MiB (1072693248 bytes), disk 0 has 1.0 GiB"),
        ({"volumeMode": "Block"}, "ClaimUnsupported", "claim target has volume mode Block"),
        ({"modes": ("ReadOnlyMany",)}, "ReadOnlyClaim", "ReadOnlyMany"),
        ({"phase": "Lost"}, "ClaimLost", "target"),
    ],
)
async def test_claims_that_can_not_receive_a_disk(claim: dict[str, Any], reason: str, words: str) -> None:
    rig = await protected()
    rig.world.cluster.put(kinds.CLAIM, sample.claim("target", **{"size": "2Gi", **claim}))
    create(rig)
    await is_over(rig)
    if not reason:
        assert phase(rig) == "Completed"
        return
    assert (phase(rig), ready(rig)[1]) == ("Failed", reason)
    assert words in message(rig)
    assert jobs(rig) == []


async def test_the_repository_s_own_claim_receives_nothing() -> None:
    rig = await protected()
    create(rig, claim="store-claim")
    await is_over(rig)
    assert ready(rig)[1] == "ClaimIsRepository"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"source": {"backupRef": {"name": "b1"}, "disks": [0, 1]}}, "DiskNotFound"),
        ({"target": {"persistentVolumeClaims": [{"disk": 1, "claimName": "target"}]}}, "ClaimMissing"),
    ],
)
async def test_disks_that_do_not_fit_the_restore_point(spec: dict[str, Any], reason: str) -> None:
    rig = await protected()
    create(rig, **spec)
    await is_over(rig)
    assert (phase(rig), ready(rig)[1]) == ("Failed", reason)


async def test_a_storage_class_that_the_controller_may_not_read() -> None:
    """Whether a pod is waited for is then not known: the claim counts as one that has no volume yet."""
    rig = await protected()
    rig.world.cluster.put(kinds.CLAIM, sample.claim("target", size="2Gi", phase="Pending"))
    rig.world.cluster.failing = lambda verb, kind: ForbiddenError("no") if kind.kind == "StorageClass" else None
    create(rig)
    await rig.run(lambda: ready(rig)[1] == "ClaimPending")
    rig.world.cluster.put(kinds.CLAIM, sample.claim("target", size="2Gi"))
    await is_over(rig)
    assert phase(rig) == "Completed"


async def test_a_claim_in_use_is_waited_for() -> None:
    rig = await protected()
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "target"}}]
    meta = sample.metadata("Pod", "guest", labels={names.LABEL_COMPONENT: "other", "job-name": "x"})
    pod = {"metadata": {**meta, "ownerReferences": [{"uid": "x"}]}, "spec": {"volumes": volumes}}
    rig.world.cluster.objects["Pod", "shop", "guest"] = {**pod, "status": {"phase": "Succeeded"}, "kind": "Pod"}
    rig.world.cluster.objects["Pod", "shop", "guest"]["apiVersion"] = "v1"
    rig.world.cluster.objects["Pod", "shop", "guest"]["status"] = {"phase": "Unknown"}
    create(rig)
    await rig.run(lambda: ready(rig)[1] == "ClaimInUse")
    assert message(rig).startswith("claim target is used by pod guest:")
    del rig.world.cluster.objects["Pod", "shop", "guest"]
    await is_over(rig)
    assert phase(rig) == "Completed"


async def test_two_restores_want_one_claim() -> None:
    rig = await protected()
    create(rig, "r1")
    create(rig, "r2")
    await rig.run(lambda: {ready(rig, "r1")[1], ready(rig, "r2")[1]} >= {"ClaimInUse", "Restoring"})
    waiting = "r1" if ready(rig, "r1")[1] == "ClaimInUse" else "r2"
    assert "is used by Restore r" in message(rig, waiting)
    assert len(jobs(rig)) == 1


def new_claim(**create: Any) -> dict[str, Any]:
    """The target of a Restore that makes its claim."""
    return {"persistentVolumeClaims": [{"disk": 0, "claimName": "made", "create": create}]}


def owners(rig: Rig) -> list[str]:
    claim = rig.world.cluster.one(kinds.CLAIM, "made")
    return [reference["kind"] for reference in claim["metadata"].get("ownerReferences") or []]


@pytest.mark.parametrize("writes", [None, *range(1, 14)])
async def test_a_claim_that_it_makes_stays(writes: int | None) -> None:
    """It belongs to the Restore only until that is Completed, at whichever write the controller dies."""
    rig = await protected()
    rig.kill_after(writes)
    create(rig, target=new_claim(storageClassName="fast", accessModes=["ReadWriteMany"]))
    await rig.run(lambda: ready(rig)[1] == "Restoring")
    assert owners(rig) == ["Restore"]
    await is_over(rig)
    assert (phase(rig), rig.world.restores.images) == ("Completed", {"made": "b1"})
    assert owners(rig) == []
    spec = rig.world.cluster.one(kinds.CLAIM, "made")["spec"]
    assert (spec["storageClassName"], spec["accessModes"]) == ("fast", ["ReadWriteMany"])
    assert int(spec["resources"]["requests"]["storage"]) > sample.GIB
    rig.world.cluster.begin_deletion(kinds.RESTORE, restore(rig))
    await rig.settle(seconds=10)
    assert [claim["metadata"]["name"] for claim in rig.world.cluster.all(kinds.CLAIM)].count("made") == 1


async def test_a_claim_of_a_restore_that_failed_goes_with_it() -> None:
    rig = await protected()
    rig.world.restores.endings["r1"] = [Ending.FATAL]
    create(rig, target=new_claim())
    await is_over(rig)
    assert owners(rig) == ["Restore"]
    rig.world.cluster.begin_deletion(kinds.RESTORE, restore(rig))
    await rig.settle(seconds=10)
    assert "made" not in [claim["metadata"]["name"] for claim in rig.world.cluster.all(kinds.CLAIM)]


async def test_a_claim_that_somebody_else_made_is_left_alone() -> None:
    rig = await protected()
    add_claim(rig, "made")
    create(rig, target=new_claim())
    await is_over(rig)
    assert ready(rig)[1] == "ClaimExists"
    assert jobs(rig) == []
