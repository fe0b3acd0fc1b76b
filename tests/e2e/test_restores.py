"""Restore points become disks again: in claims, as they were, or not at all."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support import images, manifests
from tests.support.client_pods import run_in_pod
from tests.support.namespaces import wait_gone
from tests.support.objects import Obj, find_condition
from tests.support.points import History
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import SLOW_MACHINE, Workspace

KIB = 1024
CHUNK = 4 * MIB
ODD = Disk("pattern", 9 * MIB + 1536)
SPARSE = Disk("hidden", 64 * MIB)
IMAGE = "disk.img"


def restore(space: Workspace, name: str, *, disks: int = 0, source: Mapping[str, Any], **spec: Any) -> None:
    """Create a Restore into claims of its own, one for each of so many disks."""
    claims = {index: f"{name}-{index}" for index in range(disks)}
    for claim in claims.values():
        space.add_claim(claim)
    space.kube.create(manifests.restore(name, space.namespace, source=source, claims=claims or None, **spec))


def named(backup: str) -> dict[str, Any]:
    return {"backupRef": {"name": backup}}


NEWEST = {"vmRef": {"name": "vm"}, "repositoryRef": {"name": "repo"}}


def completed(space: Workspace, name: str) -> Obj:
    return space.wait_phase("Completed", name, "Restore")


def image(space: Workspace, restore: str, disk: int) -> Path:
    """Return the image of a disk, on the host."""
    folder = space.folders[f"{restore}-{disk}"].path
    assert [file.name for file in folder.iterdir()] == [IMAGE]
    return folder / IMAGE


def assert_restored(space: Workspace, restore: str, sources: list[Path]) -> None:
    """Each image is byte for byte what the disk was, and as long."""
    for index, source in enumerate(sources):
        subprocess.run(["cmp", str(source), str(image(space, restore, index))], check=True)


def test_each_point_of_a_chain(space: Workspace, history: History) -> None:
    """Of an odd and a sparse disk, while the next increment runs, and after the oldest point was deleted."""
    space.ready(ODD, SPARSE)
    history.backup("full")
    space.vma.write("vm", count=4, size=4 * KIB, seed=1)
    history.increment("incr-1")
    space.vma.write("vm", count=4, size=4 * KIB, seed=2)
    history.start("incr-2", type="Incremental")
    restore(space, "old", disks=2, source=named("full"))
    restore(space, "new", disks=2, source=named("incr-1"))
    for name, point in (("old", "full"), ("new", "incr-1")):
        status = completed(space, name)
        assert status["restorePoint"]["backupName"] == point
        assert_restored(space, name, history.kept[point])
        assert find_condition(status, "Ready")["reason"] == "Restored"
        assert [disk["percent"] for disk in status["disks"]] == [100, 100]
    sparse = image(space, "new", 1).stat()
    assert sparse.st_blocks * 512 < sparse.st_size // 2, "holes stay holes"
    rows = {row["Name"]: row for row in space.kube.table("Restore", space.namespace)}
    assert (rows["new"]["VM"], rows["new"]["Phase"], rows["new"]["Progress"]) == ("vm", "Completed", "100%")
    story = [(kind, reason) for kind, reason, _ in space.story("new", "Restore")]
    assert story == [("Normal", "Accepted"), ("Normal", "Started"), ("Normal", "Restored")]

    space.wait_phase("Completed", "incr-2")
    space.delete_and_wait("full")
    restore(space, "last", disks=2, source=NEWEST)
    assert completed(space, "last")["restorePoint"]["backupName"] == "incr-2"
    assert_restored(space, "last", history.kept["incr-2"])
    space.kube.delete("Restore", "last", space.namespace)
    wait_gone(space.kube, "Restore", "last", space.namespace)
    assert_restored(space, "last", history.kept["incr-2"])


def test_a_flipped_bit(space: Workspace, history: History) -> None:
    """It ends a restore before a wrong byte is written; whoever allows it gets zeroes there and a list."""
    space.ready(Disk("random", 3 * CHUNK))
    history.backup("full")
    space.vma.write("vm", ranges=[[0, CHUNK]], seed=1)
    history.increment("incr")
    history.wait_points("full", "incr")
    layer = space.folders["repo"].path / space.status("full")["disks"][0]["file"]
    images.flip_bit(space, layer, after=2 * CHUNK)

    restore(space, "proof", source=named("incr"), verifyOnly=True)
    restore(space, "strict", disks=1, source=named("incr"))
    for name in ("proof", "strict"):
        status = space.wait_phase("Failed", name, "Restore")
        ready = find_condition(status, "Ready")
        assert ready["reason"] == "RestorePointDamaged"
        assert f"byte {2 * CHUNK} of the disk" in ready["message"]
    assert list(space.folders["strict-0"].path.iterdir()) == []

    def marked() -> None:
        found = {name: find_condition(space.status(name), "Damaged").get("status") for name in ("full", "incr")}
        until(found == {"full": "True", "incr": "True"}, found)

    wait_for("the Backups marked as damaged", marked, timeout=SLOW_MACHINE)
    restore(space, "anyway", disks=1, source=named("incr"), allowDamaged=True)
    status = completed(space, "anyway")
    assert find_condition(status, "Ready")["reason"] == "RestoredWithDamage"
    assert status["disks"][0]["damaged"] == [{"offset": 2 * CHUNK, "length": CHUNK}]
    content, source = image(space, "anyway", 0).read_bytes(), history.kept["incr"][0].read_bytes()
    assert content == source[: 2 * CHUNK] + bytes(CHUNK)

    restore(space, "none", disks=1, source=NEWEST)
    assert "each restore point" in space.wait_reason("AllDamaged", "none", "Restore")
    space.kube.merge("Restore", "none", space.namespace, {"spec": {"cancel": True}})
    space.wait_phase("Cancelled", "none", "Restore")


def test_a_cluster_that_has_lost_everything(space: Workspace, history: History) -> None:
    """With the repository's claim and a BackupRepository; the VM need not exist."""
    space.ready(ODD)
    history.backup("full")
    history.wait_points("full")
    space.kube.merge("BackupRepository", "repo", space.namespace, {"spec": {"deletionPolicy": "Retain"}})
    space.delete_and_wait("full")
    for kind, name in (("BackupRepository", "repo"), ("ProtectedVM", "vm"), ("VMwareAppliance", "vma")):
        space.kube.delete(kind, name, space.namespace)
        wait_gone(space.kube, kind, name, space.namespace)
    restore(space, "back", disks=1, source=NEWEST)
    space.wait_reason("NoRestorePoint", "back", "Restore")
    space.kube.create(manifests.repository("repo", space.namespace, claim="repo-claim", minFreeBytes=1 << 20))
    completed(space, "back")
    assert_restored(space, "back", history.kept["full"])


def test_a_claim_that_is_made(space: Workspace, history: History) -> None:
    """By the cluster's default StorageClass, which binds it when the pod comes; it outlives its Restore."""
    space.ready(ODD)
    history.backup("full")
    target = {"persistentVolumeClaims": [{"disk": 0, "claimName": "made", "create": {}}]}
    space.kube.create(manifests.restore("new", space.namespace, source=named("full"), target=target))
    completed(space, "new")
    claim = space.get("made", "PersistentVolumeClaim")
    assert claim["status"]["phase"] == "Bound"
    wait_for("the claim on its own", lambda: until(not _owners(space, "made"), _owners(space, "made")))
    space.kube.delete("Restore", "new", space.namespace)
    wait_gone(space.kube, "Restore", "new", space.namespace)
    assert space.get("made", "PersistentVolumeClaim")["metadata"]["uid"] == claim["metadata"]["uid"]


def _owners(space: Workspace, claim: str) -> list[Obj]:
    found: list[Obj] = space.get(claim, "PersistentVolumeClaim")["metadata"].get("ownerReferences", [])
    return found


_READ = """
set -e
for uri; do qemu-img convert -f raw -O raw "$uri" /tmp/disk && sha256sum < /tmp/disk; done
if qemu-io -f raw -c 'write 0 512' "$1" > /tmp/said 2>&1; then echo written; else echo refused; fi
"""


def test_a_restore_point_is_looked_into(space: Workspace, history: History) -> None:
    """By a pod of the namespace, over NBD, after its Backup was deleted."""
    space.ready(ODD, SPARSE)
    history.backup("full")
    space.kube.create(manifests.restore("look", space.namespace, source=named("full"), target={"nbd": {}}))
    space.wait_reason("Serving", "look", "Restore")
    status = space.status("look", "Restore")
    assert status["phase"] == "Running"
    space.delete_and_wait("full")
    words = run_in_pod(space, "client", _READ, *(disk["uri"] for disk in status["disks"])).split()
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in history.kept["full"]]
    assert [word for word in words if word != "-"] == [*digests, "refused"]
    space.kube.delete("Restore", "look", space.namespace)
    wait_gone(space.kube, "Restore", "look", space.namespace)
    left = [obj for kind in ("Service", "NetworkPolicy") for obj in space.kube.select(kind, space.namespace)]
    assert [obj["metadata"]["name"] for obj in left if "-restore-" in obj["metadata"]["name"]] == []


def test_targets_that_cannot_be_used(space: Workspace, history: History) -> None:
    """Nothing of them is changed, and the reason says what is wrong."""
    space.ready(ODD)
    history.backup("full")
    restore(space, "occupied", disks=1, source=named("full"))
    completed(space, "occupied")
    finished = image(space, "occupied", 0)
    (finished.parent / "notes.txt").write_text("mine")
    claims = {"occupied": "occupied-0", "itself": "repo-claim", "nowhere": "nowhere"}
    for name, claim in claims.items():
        made = manifests.restore(f"{name}-2", space.namespace, source=named("full"), claims={0: claim})
        space.kube.create(made)
    assert "notes.txt" in space.wait_reason("TargetNotEmpty", "occupied-2", "Restore")
    space.wait_reason("ClaimIsRepository", "itself-2", "Restore")
    assert "nowhere" in space.wait_reason("ClaimNotFound", "nowhere-2", "Restore")
    assert sorted(file.name for file in finished.parent.iterdir()) == [IMAGE, "notes.txt"]
    subprocess.run(["cmp", str(history.kept["full"][0]), str(finished)], check=True)
