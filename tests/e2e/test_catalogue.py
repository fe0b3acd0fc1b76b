"""The repository is the truth: what goes from it and what does not, and objects that come back out of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.support import chart, manifests, namespaces, programs, repositories, setup
from tests.support.kube import CHECKOUT
from tests.support.namespaces import wait_gone
from tests.support.objects import Obj, find_condition
from tests.support.points import History
from tests.support.vma import MIB, Disk
from tests.support.waiting import NotYet, until, wait_for
from tests.support.workspace import SLOW_MACHINE, Workspace, moment

SMALL = (Disk("pattern", 6 * MIB), Disk("pattern", 4 * MIB))
ADOPTED = "backup.sendense.io/adopted"
REPOSITORY = "BackupRepository"


@pytest.fixture
def two(space: Workspace, history: History) -> History:
    """A full and an increment on it, of two disks."""
    space.ready(*SMALL)
    history.backup("full")
    space.vma.write("vm", count=4, size=4096, seed=1)
    history.increment("incr")
    history.wait_points("full", "incr")
    return history


def wait_back(space: Workspace, name: str) -> Obj:
    """Return the Backup, once it was made for what lies in the repository, with all that is known of it."""

    def probe() -> Obj:
        found = space.kube.find("Backup", name, space.namespace)
        if found is None:
            raise NotYet("no such Backup")
        until(found.get("status", {}).get("phase") == "Completed", found.get("status"))
        return found

    found = wait_for(f"Backup {name} adopted", probe, timeout=SLOW_MACHINE)
    assert found["status"]["adopted"] is True
    assert found["metadata"]["labels"][ADOPTED] == "true"
    assert space.workers(name) == []
    return found


def assert_same_point(found: Obj, original: Obj) -> None:
    """All that a status says of a restore point, and whose it was."""
    assert found["spec"]["adopt"]["uid"] == original["metadata"]["uid"]
    reported = ("type", "vmName", "jobID", "storedBytes", "guestBytes", "manifest", "repositoryID")
    for field in reported:
        assert found["status"][field] == original["status"][field], field
    # The manifest tells when all was durable, the original when its controller had heard of it.
    heard = moment(original["status"]["completionTime"]) - moment(found["status"]["completionTime"])
    assert timedelta(seconds=-1) <= heard < timedelta(seconds=60)
    assert found["status"]["disks"] == original["status"]["disks"]


def goes_on(history: History, name: str, parent: str) -> None:
    """The next increment depends on that point; all that is kept is what it was."""
    history.space.vma.write("vm", count=3, size=4096, seed=name)
    status = history.increment(name)
    assert {(disk["type"], disk["parent"]) for disk in status["disks"]} == {("Incremental", parent)}
    history.assert_identical(*history.kept)


def test_retained_and_deleted(space: Workspace, history: History) -> None:
    """What is retained stays out of sight until somebody asks for it."""
    space.ready(*SMALL, scanIntervalSeconds=10)
    folder = space.folders["repo"]
    history.backup("kept", deletionPolicy="Retain")
    history.backup("gone")
    history.backup("changed")
    space.kube.merge("Backup", "changed", space.namespace, {"spec": {"deletionPolicy": "Retain"}})
    for name in ("kept", "gone", "changed"):
        space.delete_and_wait(name)
    wait_for(
        "its files gone",
        lambda: until(len(folder.layers()) == 4 and folder.tombstones() == [], folder.files()),
        timeout=SLOW_MACHINE,
    )
    assert {point["backup"]["name"] for point in folder.manifests()} == {"kept", "changed"}
    before = _scanned(space)
    wait_for("one more scan", lambda: until(_scanned(space) > before, before), timeout=SLOW_MACHINE)
    assert space.kube.select("Backup", space.namespace) == []
    space.scan()
    for name in ("kept", "changed"):
        wait_back(space, name)
    history.wait_points("kept", "changed")
    history.assert_identical("kept", "changed")


def test_deleted_and_taken_back(space: Workspace, history: History) -> None:
    """Within the grace, by an export of the object (no status, a new UID); a second object owns nothing."""
    space.ready(*SMALL, deletionGraceSeconds=3600)
    history.backup("full")
    wait_for("its labels", lambda: until(_is_labelled(space, "full"), "not yet"))
    original = space.get("full")
    space.delete_and_wait("full")
    removed = history.wait_removed(full="Pending")["removed"][0]
    assert moment(removed["keptUntil"]) - moment(removed["since"]) == timedelta(hours=1)
    meta = {key: original["metadata"][key] for key in ("name", "namespace", "labels")}
    space.kube.create({**{key: original[key] for key in ("apiVersion", "kind", "spec")}, "metadata": meta})
    found = wait_back(space, "full")
    assert found["status"]["restorePointUID"] == original["metadata"]["uid"]
    assert found["status"]["manifest"] == original["status"]["manifest"]
    history.wait_removed()
    twin = manifests.backup("twin", space.namespace, adopt={"uid": original["metadata"]["uid"]})
    space.kube.create(twin)
    space.wait_reason("RestorePointOwned", "twin")
    space.delete_and_wait("twin")
    history.wait_points("full")
    history.assert_identical("full")


def _is_labelled(space: Workspace, name: str) -> bool:
    """Return whether its label says Completed: an export made right after the end may have the phase before."""
    return bool(space.get(name)["metadata"]["labels"].get("backup.sendense.io/phase") == "Completed")


def _scanned(space: Workspace) -> datetime:
    return moment(space.status("repo", REPOSITORY)["catalogue"]["time"])


def test_deleting_while_the_repository_is_away(two: History) -> None:
    """An empty folder in its place, as of a volume that was not mounted: nothing is concluded from that."""
    space, folder = two.space, two.space.folders["repo"]
    two.keep_layers()
    space.probe_often()
    away = folder.path.rename(folder.path.with_name(f"{folder.path.name}-away"))
    folder.path.mkdir()
    try:
        space.wait_reason("NotARepository", "repo", REPOSITORY)
        space.delete_and_wait("full")
        two.wait_removed(full="Pending")
        assert space.status("incr")["phase"] == "Completed"
    finally:
        folder.path.rmdir()
        away.rename(folder.path)
    assert len(folder.manifests()) == 2
    chain = two.wait_removed(full="Needed")
    assert chain["removed"][0]["neededBy"] == "incr"
    two.assert_identical("incr")
    space.delete_and_wait("incr")
    wait_for("all files gone", lambda: until(folder.layers() == [], folder.files()), timeout=SLOW_MACHINE)
    assert folder.orphans() == []
    two.wait_removed()


@pytest.fixture
def elsewhere(space: Workspace) -> Iterator[Workspace]:
    """Another namespace, as another cluster would be: it has the appliance, which is requested to call back there."""
    with namespaces.temporary(space.kube, "elsewhere") as name:
        other = replace(space, namespace=name, folders={})
        other.add_secret()
        other.add_appliance(connect=False)
        try:
            yield other
        finally:
            repositories.remove(space.kube, other.folders.values())


def test_another_namespace_takes_over(two: History, elsewhere: Workspace) -> None:
    space = two.space
    originals = {name: space.get(name) for name in ("full", "incr")}
    elsewhere.add_repository("mine", lies_in=space.folders["repo"])
    catalogue = elsewhere.wait_ready("mine", REPOSITORY)["catalogue"]
    assert catalogue["otherFolders"] == [space.namespace]
    assert catalogue.get("points", 0) == 0
    elsewhere.kube.delete(REPOSITORY, "mine", elsewhere.namespace)
    elsewhere.add_repository(lies_in=space.folders["repo"], folder=space.namespace)
    for name, original in originals.items():
        assert_same_point(wait_back(elsewhere, name), original)
    catalogue = elsewhere.wait_ready("repo", REPOSITORY)["catalogue"]
    assert (catalogue["points"], catalogue["chains"], catalogue["adopted"]) == (2, 1, 2)
    theirs = replace(two, space=elsewhere)
    theirs.wait_points("full", "incr")
    theirs.keep_layers()
    elsewhere.connect()
    elsewhere.kube.create(manifests.protected_vm("vm", elsewhere.namespace, path="/DC1/vm/vm"))
    goes_on(theirs, "next", "incr")
    elsewhere.delete_and_wait("full")
    theirs.wait_removed(full="Needed")
    theirs.assert_identical("incr", "next")


def made_again(space: Workspace) -> None:
    """All that a user applies again where nothing is left but the repository's folder."""
    folder = space.folders["repo"]
    space.kube.delete("PersistentVolume", folder.volume)
    wait_gone(space.kube, "PersistentVolume", folder.volume)
    space.add_secret()
    space.add_appliance()
    space.kube.create(manifests.protected_vm("vm", space.namespace, path="/DC1/vm/vm"))
    space.add_repository(lies_in=folder)


def test_a_namespace_that_was_deleted(two: History) -> None:
    """Whatever the policy says: a namespace is no restore point."""
    space = two.space
    originals = {name: space.get(name) for name in ("full", "incr")}
    files = space.folders["repo"].files("**/disk-*/*")
    space.kube.delete("Namespace", space.namespace)
    wait_gone(space.kube, "Namespace", space.namespace, timeout=120)
    assert space.folders["repo"].files("**/disk-*/*") == files
    namespaces.create(space.kube, space.namespace)
    made_again(space)
    for name, original in originals.items():
        assert_same_point(wait_back(space, name), original)
    goes_on(two, "next", "incr")


def test_a_restore_point_that_vanished(space: Workspace, history: History) -> None:
    """Lost, and reported as such by the chain; back when its files are."""
    space.ready(*SMALL)
    folder = space.folders["repo"]
    history.backup("first")
    status = history.backup("second")
    owned = [name for disk in status["disks"] for name in (disk["file"], f"{disk['file']}.digests")]
    files, hidden = [status["manifest"], *owned], history.root / "hidden"
    move(files, folder.path, hidden)
    # A scan says nothing of what was committed in the very second in which it was made.
    wait_for("a scan that misses it", lambda: until(space.scan().get("lost") == 1, "not yet"), timeout=SLOW_MACHINE)
    wait_for("Lost", lambda: _is_lost(space, history), timeout=SLOW_MACHINE)
    assert find_condition(space.status("second"), "Stalled")["reason"] == "Lost"
    assert history.chain()["latestBackup"] == "first"
    move(files, hidden, folder.path)
    assert space.scan().get("lost", 0) == 0
    history.wait_points("first", "second")
    assert space.status("second")["phase"] == "Completed"
    history.assert_identical("first", "second")


def move(files: list[str], source: Path, target: Path) -> None:
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).rename(target / name)


def _is_lost(space: Workspace, history: History) -> None:
    states = {point["backup"]: point["state"] for point in history.chain()["restorePoints"]}
    until(states == {"first": "Available", "second": "Lost"}, states)
    until(space.status("second")["phase"] == "Lost", space.status("second"))


def test_what_nobody_knows(space: Workspace, history: History) -> None:
    """Put aside, never deleted. With a manifest of a newer format what it needs is unknown: then nothing moves."""
    space.ready(*SMALL)
    folder = space.folders["repo"]
    status = history.backup("first")
    history.backup("second")
    layer = folder.path / status["disks"][0]["file"]
    notes, image = layer.with_name("notes.txt"), layer.with_name("full-20200101-000000.qcow2")
    for file in (notes, image):
        file.write_text(f"precious {file.name}")
    newer = folder.path / Path(status["manifest"]).with_name("future.json")
    newer.write_text(json.dumps({"format": "sendense.io/manifest", "version": 99}))
    found = space.scan()
    assert (found["newer"], found["unknownFiles"], found.get("quarantined", 0)) == (1, 2, 0)
    space.delete_and_wait("first")
    wait_for("no point any more", lambda: until(len(folder.tombstones()) == 1, folder.files()), timeout=SLOW_MACHINE)
    assert space.scan()["newer"] == 1
    assert layer.is_file(), "the newer manifest may need it"
    assert notes.is_file()
    assert newer.is_file()
    newer.unlink()
    found = space.scan()
    assert (found.get("newer", 0), found.get("unknownFiles", 0), found["quarantined"]) == (0, 0, 2)
    put_aside = {Path(name).name: (folder.path / name).read_text() for name in folder.quarantined()}
    assert put_aside == {file.name: f"precious {file.name}" for file in (notes, image)}
    wait_for("its layers freed", lambda: until(not layer.exists(), folder.files()))
    history.assert_identical("second")
    history.wait_removed()


@pytest.mark.disruptive
def test_etcd_of_yesterday(two: History) -> None:
    """Rolled back to before the last backup was committed: its object is gone, and nobody was asked."""
    space = two.space
    original = space.get("incr")
    with chart.scaled(space.kube, "controller", 0):
        yesterday = original["status"]["startTime"]
        space.kube.merge("Backup", "incr", space.namespace, {"metadata": {"finalizers": None}})
        space.kube.delete("Backup", "incr", space.namespace)
        past = {"catalogue": {"time": yesterday}, "lastProbeTime": yesterday}
        space.kube.merge(REPOSITORY, "repo", space.namespace, {"status": past}, sub="status")
        space.kube.merge(REPOSITORY, "repo", space.namespace, {"spec": {"scanIntervalSeconds": 10}})
    assert_same_point(wait_back(space, "incr"), original)
    two.wait_points("full", "incr")
    two.assert_identical("full", "incr")


@pytest.mark.disruptive
def test_definitions_and_release_that_were_deleted(two: History, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of the operator is left but what lies in the repository; installed again, it is all back.

    All objects of the cluster go with the definitions. Those of the demo can be made again, a user's can't.
    """
    space = two.space
    with capsys.disabled():
        namespaces.remove_demo(space.kube)
    if others := namespaces.of_others(space.kube):
        pytest.fail(f"this test would delete the objects in {sorted(others)}: move or delete them, then run it again")
    originals = {name: space.get(name) for name in ("full", "incr")}
    files = space.folders["repo"].files("**/disk-*/*")
    try:
        programs.kubectl("delete", "-f", str(CHECKOUT / "crds"), "--wait", "--timeout=120s")
        programs.run("helm", "uninstall", chart.RELEASE, "--namespace", space.operator, "--wait")
        assert space.folders["repo"].files("**/disk-*/*") == files
    finally:
        setup.make("install")
    for name in ("vcenter", "repo-claim"):
        kind = "Secret" if name == "vcenter" else "PersistentVolumeClaim"
        space.kube.delete(kind, name, space.namespace)
        wait_gone(space.kube, kind, name, space.namespace)
    made_again(space)
    for name, original in originals.items():
        assert_same_point(wait_back(space, name), original)
    goes_on(two, "next", "incr")
