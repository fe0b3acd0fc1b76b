"""Restore points are read back on schedule and on request, and what does not read as it was written is named."""

from __future__ import annotations

from tests.support import images, manifests
from tests.support.objects import Obj, find_condition
from tests.support.points import History
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import SLOW_MACHINE, Workspace

from sendense_operator.api.v1alpha1 import names

KIB = 1024
DISK = Disk("pattern", 12 * MIB)
CHUNK = 4 * MIB
EACH_MINUTE = {"schedule": "* * * * *", "fullCycleDays": 30}


def verified(status: Obj) -> tuple[str, str]:
    found = find_condition(status, "Verified")
    return str(found.get("status", "")), str(found.get("reason", ""))


def wait_verified(space: Workspace, expected: dict[str, tuple[str, str]]) -> None:
    def said() -> None:
        found = {name: verified(space.status(name)) for name in expected}
        until(found == expected, found)

    wait_for("the result of a verification", said, timeout=SLOW_MACHINE)


def test_a_flipped_bit_in_an_old_layer(space: Workspace, history: History) -> None:
    """Found by reading the oldest point; named on all that see it, and not on the one that has replaced that chunk."""
    space.ready(DISK)
    space.kube.create(manifests.backup_policy("proof", space.namespace, verification=EACH_MINUTE))
    history.backup("full")
    space.vma.write("vm", count=3, size=4 * KIB, seed=1)
    history.increment("incr-1")
    space.vma.write("vm", ranges=[[2 * CHUNK, CHUNK]], seed=2)
    history.increment("incr-2")
    good = ("True", "ContentVerified")
    wait_verified(space, dict.fromkeys(("full", "incr-1", "incr-2"), good))
    assert_summed_up(space, *good)
    space.kube.merge("BackupPolicy", "proof", space.namespace, {"spec": {"suspend": True}})

    layer = space.folders["repo"].path / space.status("full")["disks"][0]["file"]
    images.flip_bit(space, layer, after=2 * CHUNK)
    annotations = {names.ANNOTATION_VERIFY: "now"}
    space.kube.merge("Backup", "full", space.namespace, {"metadata": {"annotations": annotations}})
    bad = ("False", "Damaged")
    wait_verified(space, {"full": bad, "incr-1": bad, "incr-2": good})
    assert_summed_up(space, *bad)

    def named() -> Obj:
        chain = history.chain()
        message = find_condition(chain, "Verified").get("message")
        expected = "2 of 3 restore points are damaged: incr-1, full; the newest undamaged one is incr-2"
        until(message == expected, message)
        return chain

    chain = wait_for("the names of the damaged restore points", named, timeout=SLOW_MACHINE)
    assert [point["state"] for point in chain["restorePoints"]] == ["Damaged", "Damaged", "Available"]
    assert chain["next"]["type"] == "Incremental", "its parent does not read the damaged chunk"
    (event,) = space.kube.select("Event", space.namespace, fields="reason=DamageFound")
    assert "full" in event["message"]
    rows = {row["Name"]: row["Verified"] for row in space.kube.table("Backup", space.namespace)}
    assert rows == {"full": "Damaged", "incr-1": "Damaged", "incr-2": "ContentVerified"}
    history.assert_identical("incr-2")


def assert_summed_up(space: Workspace, status: str, reason: str) -> None:
    def said() -> None:
        (chain,) = space.kube.select("BackupChain", space.namespace)
        found = [verified(chain["status"]), verified(space.status("proof", "BackupPolicy"))]
        until(found == [(status, reason)] * 2, found)

    wait_for("what chain and policy say", said, timeout=SLOW_MACHINE)


def test_all_of_a_chain_on_request(space: Workspace, history: History) -> None:
    """Without any policy; the pod fits what `restricted` allows, as each that mounts the claim."""
    space.ready(DISK)
    history.backup("full")
    history.wait_points("full")
    (chain,) = space.kube.select("BackupChain", space.namespace)
    annotations = {names.ANNOTATION_VERIFY: "now"}
    name = chain["metadata"]["name"]
    space.kube.merge("BackupChain", name, space.namespace, {"metadata": {"annotations": annotations}})
    wait_verified(space, {"full": ("True", "ContentVerified")})
    wait_for("the request acted on", lambda: until(_request(history) == "now", _request(history)), timeout=SLOW_MACHINE)


def _request(history: History) -> str:
    return str(history.chain()["verification"].get("request", ""))
