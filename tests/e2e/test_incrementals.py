"""A full and what depends on it: each restore point is the VM's disks of its time, whatever happens around it."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from tests.support import hardware, images, manifests
from tests.support.objects import Obj, disk_types, find_condition
from tests.support.points import History
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import SLOW_MACHINE, Workspace

KIB = 1024
SMALL = (Disk("pattern", 8 * MIB), Disk("pattern", 6 * MIB))


def assert_based_on(status: Obj, parent: Obj, name: str) -> None:
    """Each disk is an increment upon the same disk of that Backup, from where that one ended."""
    assert status["type"] == "Incremental"
    for disk, before in zip(status["disks"], parent["disks"], strict=True):
        assert disk["type"] == "Incremental"
        assert "reason" not in disk
        assert disk["parent"] == name
        assert disk["parentChangeID"] == before["changeID"]
        assert disk["depth"] == before["depth"] + 1
        assert disk["key"] == before["key"]


@pytest.mark.timeout(1200)
def test_eleven_increments_and_their_end(space: Workspace, history: History) -> None:
    """Each is read back from its own point; then they go, by a policy's rules and in any order by hand.

    What remains stays what it was.
    """
    space.ready(Disk("pattern", 48 * MIB), Disk("random", 24 * MIB))
    history.keep_layers()
    names = ["full", *(f"incr-{number}" for number in range(1, 12))]
    statuses = {"full": history.backup("full")}
    for parent, name in pairwise(names):
        space.vma.write("vm", count=6, size=4 * KIB, seed=f"{name}-4k")
        space.vma.write("vm", count=3, size=64 * KIB, seed=f"{name}-64k")
        statuses[name] = history.increment(name)
        assert_based_on(statuses[name], statuses[parent], parent)
    history.assert_identical(*names)
    assert_stored_what_changed(space, statuses)
    assert_chain_reports(space, history.wait_points(*names), statuses)
    removed_in_any_order(history, expire(history, names), names)


def assert_stored_what_changed(space: Workspace, statuses: dict[str, Obj]) -> None:
    folder = space.folders["repo"]
    sent = {job["job_id"]: job["bytes"] for job in space.vma.jobs()}
    for status in statuses.values():
        for disk in status["disks"]:
            assert disk["storedBytes"] == (folder.path / disk["file"]).stat().st_blocks * 512
        if status["type"] == "Incremental":
            overhead = 2 * MIB  # what an empty image of two disks costs
            assert status["storedBytes"] < 1.1 * sent[status["jobID"]] + overhead
    layers = [folder.path / disk["file"] for status in statuses.values() for disk in status["disks"]]
    images.check(space, *layers)
    reported = images.info(space, layers[-1])
    assert "/" not in reported["backing-filename"]
    assert reported["backing-filename-format"] == "qcow2"
    assert folder.orphans() == []


def assert_chain_reports(space: Workspace, chain: Obj, statuses: dict[str, Obj]) -> None:
    points = {point["backup"]: point for point in chain["restorePoints"]}
    assert [point["depth"] for point in points.values()] == list(range(1, 13))
    assert {point["full"] for point in points.values()} == {"full"}
    assert points["incr-4"]["type"] == "Incremental"
    assert points["incr-4"]["storedBytes"] == statuses["incr-4"]["storedBytes"]
    assert chain["storedBytes"] == sum(status["storedBytes"] for status in statuses.values())
    assert chain["next"]["type"] == "Incremental"
    (row,) = space.kube.table("BackupChain", space.namespace)
    assert {column: row[column] for column in ("VM", "Repository", "Points", "Depth", "Ready")} == {
        "VM": "vm",
        "Repository": "repo",
        "Points": 12,
        "Depth": 12,
        "Ready": "True",
    }
    assert row["Stored"] == chain["stored"]
    assert row["State"] == find_condition(chain, "Ready")["reason"]
    assert row["Latest"]


def expire(history: History, names: list[str]) -> list[str]:
    """Let a policy keep six restore points of those that were made by hand; return the names of these."""
    space, kept = history.space, names[-6:]
    retention = {"keepLast": 5, "keepDaily": 1, "minimum": 6, "includeManual": True}
    space.kube.create(
        manifests.backup_policy("tidy", space.namespace, retention={**retention, "dryRun": True}, failedHistoryLimit=0)
    )

    def announced() -> list[Obj]:
        points: list[Obj] = history.chain()["restorePoints"]
        held = [point for point in points if point.get("heldBy") == "DryRun"]
        until(held, points)
        return held

    expired = wait_for("what a dry run announces", announced, timeout=SLOW_MACHINE)
    assert [point["backup"] for point in expired] == names[:-6]
    assert {point["backup"]: point["keptBy"] for point in history.chain()["restorePoints"][6:]} == {
        names[-6]: ["Minimum"],
        **{name: ["Last"] for name in names[-5:-1]},
        names[-1]: ["Last", "Daily"],
    }

    def summed_up() -> None:
        reason = find_condition(space.status("tidy", "BackupPolicy"), "Retention").get("reason")
        until(reason == "DryRun", reason)

    wait_for("the policy's word on it", summed_up, timeout=SLOW_MACHINE)
    space.kube.merge("BackupPolicy", "tidy", space.namespace, {"spec": {"retention": {"dryRun": False}}})
    history.wait_points(*kept)
    chain = wait_handled(history, kept)
    assert {entry["backup"] for entry in chain["removed"]} == set(names[:-6])
    history.assert_identical(*kept)
    space.kube.delete("BackupPolicy", "tidy", space.namespace)
    return kept


def removed_in_any_order(history: History, left: list[str], names: list[str]) -> None:
    """One by one at first, then several at once; in the end no file is left."""
    space, folder = history.space, history.space.folders["repo"]
    seed = secrets.randbits(32)
    print(f"order of removal: seed {seed}")
    order = random.Random(seed).sample(left, len(left))
    for batch in (order[:1], order[1:2], order[2:5], order[5:]):
        for name in batch:
            space.delete_and_wait(name)
            left.remove(name)
        chain = wait_handled(history, left)
        history.assert_identical(*left)
        assert folder.orphans() == []
        assert {point["backup"]["name"] for point in folder.manifests()} == set(left)
        waiting = {point["backup"]["name"] for point in folder.tombstones()}
        assert waiting == {entry["backup"] for entry in chain["removed"]}
        newest = max((names.index(name) for name in left), default=-1)
        assert waiting == set(names[: newest + 1]) - set(left), "a layer stays just as long as a point depends on it"
    assert folder.layers() == []


def wait_handled(history: History, left: list[str]) -> Obj:
    """Return the chain's status once the repository has dealt with all removals."""

    def probe() -> Obj:
        chain = history.chain()
        assert {point["backup"] for point in chain["restorePoints"]} <= set(left)
        pending = [entry for entry in chain.get("removed", []) if entry["state"] == "Pending"]
        until(not pending and chain["points"] == len(left), chain)
        return {"removed": [], **chain}

    return wait_for("all removals dealt with", probe, timeout=SLOW_MACHINE)


def test_disks_that_come_grow_go_and_are_replaced(space: Workspace, history: History) -> None:
    """Disk by disk: only what has no parent is copied whole."""
    space.ready(*SMALL)
    history.backup("two")
    hardware.add_disk(space, 2002, 4 * MIB)
    space.vma.write("vm", key=2000, count=1, size=4 * KIB, seed=1)
    three = history.increment("three")
    assert disk_types(three) == [("Incremental", None), ("Incremental", None), ("Full", "NewDisk")]
    assert three["type"] == "Full", "not every disk is an increment"
    hardware.grow_disk(space, 2000, 10 * MIB)
    space.vma.write("vm", key=2000, ranges=[[9 * MIB, 64 * KIB]], seed=2)
    grown = history.increment("grown")
    assert disk_types(grown) == [("Full", "DiskResized"), ("Incremental", None), ("Incremental", None)]
    hardware.remove_disk(space, 2001)
    space.vma.write("vm", key=2002, count=1, size=4 * KIB, seed=3)
    fewer = history.increment("fewer")
    assert [disk["key"] for disk in fewer["disks"]] == [2000, 2002]
    assert disk_types(fewer) == [("Incremental", None), ("Incremental", None)]
    assert fewer["disks"][1]["parentChangeID"] == grown["disks"][2]["changeID"]
    hardware.remove_disk(space, 2002)
    hardware.add_disk(space, 2003, 4 * MIB)
    replaced = history.increment("replaced")
    assert disk_types(replaced) == [("Incremental", None), ("Full", "NewDisk")]
    history.assert_identical(*history.kept)
    chain = history.wait_points(*history.kept)
    assert chain["virtualSize"] == 14 * MIB
    assert space.folders["repo"].orphans() == []


def test_what_fits(space: Workspace, history: History) -> None:
    """Auto begins with a full, goes on with increments, and begins anew when the chain is as long as it may be."""
    space.ready(*SMALL, maxChainDepth=2)
    first = history.backup("first", type="Auto")
    assert disk_types(first) == [("Full", "NoParent")] * 2
    assert history.wait_points("first")["next"]["type"] == "Incremental"
    space.vma.write("vm", count=2, size=4 * KIB, seed=1)
    second = history.backup("second", type="Auto")
    assert_based_on(second, first, "first")
    following = history.wait_points("first", "second")["next"]
    assert (following["type"], following["reason"]) == ("Full", "ChainTooLong")
    third = history.backup("third", type="Auto")
    assert disk_types(third) == [("Full", "ChainTooLong")] * 2
    chain = history.wait_points("first", "second", "third")
    assert [point["full"] for point in chain["restorePoints"]] == ["first", "first", "third"]
    history.assert_identical("first", "second", "third")


def test_nothing_to_stand_on(space: Workspace) -> None:
    """It fails before the VMA receives anything where the spec says so, else it is a full."""
    space.ready(*SMALL)
    space.backup("strict", type="Incremental", onMissingParent="Fail", retries=2)
    status = space.wait_phase("Failed", "strict")
    assert find_condition(status, "Stalled")["reason"] == "NoParent"
    assert status["attempts"] == 1
    assert space.vma.starts() == []
    space.backup("lenient", type="Incremental")
    assert disk_types(space.wait_phase("Completed", "lenient")) == [("Full", "NoParent")] * 2
    images.assert_identical(space, "lenient")
    space.backup("strict-again", type="Incremental", onMissingParent="Fail")
    assert space.wait_phase("Completed", "strict-again")["type"] == "Incremental"


def test_what_turns_out_to_be_a_full(space: Workspace, history: History) -> None:
    """Known from the requests and the layer's coverage, not from what the VMA calls it; the next continues from it."""
    space.ready(*SMALL)
    history.keep_layers()
    history.backup("full")
    space.vma.reset_cbt("vm")
    space.vma.write("vm", count=2, size=4 * KIB, seed=1)
    reset = history.increment("reset")
    assert disk_types(reset) == [("Full", "CBTReset")] * 2
    space.vma.write("vm", key=2000, ranges=[[0, 8 * MIB]], seed=2)
    space.vma.write("vm", key=2001, count=1, size=64 * KIB, seed=3)
    rewritten = history.increment("rewritten")
    assert disk_types(rewritten) == [("Full", "ApplianceCopiedAll"), ("Incremental", None)]
    history.assert_identical("full", "reset", "rewritten")
    for name in ("full", "reset"):
        space.delete_and_wait(name)
    history.wait_removed(reset="Needed")
    kept = {name.split("/")[2] for name in space.folders["repo"].layers()}
    assert kept == {"disk-0", "disk-1"}
    history.assert_identical("rewritten")


def test_a_change_id_that_vcenter_refuses(space: Workspace, history: History) -> None:
    """The attempt fails, the next one copies that disk whole; the parent is as good as before."""
    space.ready(*SMALL)
    history.backup("full")
    space.vma.forget_change_ids("vm", 2001)
    space.vma.write("vm", count=3, size=4 * KIB, seed=1)
    status = history.increment("refused", retries=1)
    assert disk_types(status) == [("Incremental", None), ("Full", "ChangeIDRefused")]
    assert status["attempts"] == 2
    history.assert_identical("full", "refused")
    assert [p["state"] for p in history.wait_points("full", "refused")["restorePoints"]] == ["Available"] * 2


def _truncate(_: Workspace, layer: Path) -> None:
    with layer.open("r+b") as file:
        file.truncate(layer.stat().st_size // 2)


def _lose(_: Workspace, layer: Path) -> None:
    layer.unlink()


HARMS: dict[str, Callable[[Workspace, Path], None]] = {
    "flipped": images.flip_bit,
    "truncated": _truncate,
    "lost": _lose,
}


@pytest.fixture
def harmed(space: Workspace) -> Workspace:
    """VMs with a full each, `full-VM`; the second disk's layer was harmed afterwards, as the VM is called."""
    space.ready(*SMALL)
    for vm in HARMS:
        space.add_vm(vm, *SMALL)
        space.backup(f"full-{vm}", vm=vm)
    for vm, harm in HARMS.items():
        status = space.wait_phase("Completed", f"full-{vm}")
        harm(space, space.folders["repo"].path / status["disks"][1]["file"])
    return space


def test_a_parent_that_is_not_what_was_written(harmed: Workspace) -> None:
    """Found before anything is put on it: that disk becomes a full, and the harmed point is called so."""
    for vm in HARMS:
        harmed.vma.write(vm, count=2, size=4 * KIB, seed=1)
        harmed.backup(f"next-{vm}", vm=vm, type="Incremental")
    for vm in HARMS:
        status = harmed.wait_phase("Completed", f"next-{vm}")
        assert disk_types(status) == [("Incremental", None), ("Full", "ParentUnverified")], vm
        assert status["disks"][0]["parent"] == f"full-{vm}"
        images.assert_identical(harmed, f"next-{vm}", vm=vm)
    for vm in HARMS:
        wait_for(f"full-{vm} called damaged", partial(_is_damaged, harmed, vm), timeout=SLOW_MACHINE)
    harmed.scan()  # with all that there is now
    for vm in HARMS:
        assert not find_condition(harmed.status(f"next-{vm}"), "Damaged"), vm
        wait_for(f"full-{vm} still called so", partial(_is_damaged, harmed, vm), timeout=SLOW_MACHINE)


def _is_damaged(space: Workspace, vm: str) -> None:
    """It and its chain say so; the next point depends on its other disk only."""
    status = space.status(f"full-{vm}")
    until(find_condition(status, "Damaged").get("status") == "True", status)
    (chain,) = space.kube.select("BackupChain", space.namespace, fields=f"spec.vmRef.name={vm}")
    states = {point["backup"]: point["state"] for point in chain["status"]["restorePoints"]}
    until(states == {f"full-{vm}": "Damaged", f"next-{vm}": "Available"}, states)


def test_two_at_once(space: Workspace, history: History) -> None:
    """The second waits, and depends on the first."""
    space.ready(*SMALL)
    history.backup("full")
    space.vma.fault("client", "rate", bytes_per_second=64 * KIB)
    space.vma.write("vm", key=2000, ranges=[[0, 6 * MIB]], seed=1)
    history.start("first", type="Incremental")
    job = str(space.wait_copying("first")["job_id"])
    history.start("second", type="Incremental")
    assert "first" in space.wait_reason("ChainBusy", "second")
    space.vma.command(job, "rate", bytes_per_second=1 << 30)
    first = space.wait_phase("Completed", "first")
    assert_based_on(space.wait_phase("Completed", "second"), first, "first")
    history.assert_identical("full", "first", "second")
    assert not space.vma.events("snapshot_deleted_under_job")


def test_increments_that_are_compacted(space: Workspace, history: History) -> None:
    """They store what differs, not what the appliance sent, and the next one is based on them."""
    space.ready(Disk("random", 96 * MIB))
    history.backup("full")
    history.wait_points("full")
    (chain,) = space.kube.select("BackupChain", space.namespace)
    space.kube.merge("BackupChain", chain["metadata"]["name"], space.namespace, {"spec": {"compaction": "Auto"}})
    statuses = {}
    for name in ("incr-1", "incr-2"):
        space.vma.write("vm", count=40, size=4 * KIB, seed=name)
        statuses[name] = history.increment(name)
        (disk,) = statuses[name]["disks"]
        assert disk["compaction"] == "Compacted"
        # Each of the writes may lie in two blocks of 4 KiB.
        assert disk["changedBytes"] <= 40 * 8 * KIB < disk["bytesTransferred"] // 4, disk
        assert disk["guestBytes"] <= disk["changedBytes"]
        assert disk["storedBytes"] < disk["bytesTransferred"] // 2, disk
    assert_based_on(statuses["incr-2"], statuses["incr-1"], "incr-1")
    history.assert_identical("full", "incr-1", "incr-2")
