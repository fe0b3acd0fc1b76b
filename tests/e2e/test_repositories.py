"""What only the cluster can know of a repository becomes a condition."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from tests.support import images, manifests, repositories
from tests.support.objects import find_condition
from tests.support.programs import engine
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import OFTEN, SLOW_MACHINE, Workspace

REPOSITORY = "BackupRepository"


def test_an_empty_folder_becomes_a_repository(space: Workspace) -> None:
    folder = space.add_repository()
    status = space.wait_ready("repo", REPOSITORY)
    usage = shutil.disk_usage(folder.path)
    assert folder.files() == [".sendense-repository.json"]
    assert status["repositoryID"]
    assert abs(status["capacity"]["totalBytes"] - usage.total) < usage.total // 100
    assert 0 < status["capacity"]["freeBytes"] <= usage.total
    assert status["volumeName"] == folder.volume
    assert status["lastProbeTime"]


def test_a_folder_that_holds_something_else_is_left_alone(space: Workspace) -> None:
    folder = space.add_claim("claim")
    (folder.path / "holiday.jpg").write_text("precious")
    space.kube.create(manifests.repository("repo", space.namespace, claim="claim"))
    space.wait_reason("NotARepository", "repo", REPOSITORY)
    assert folder.files() == ["holiday.jpg"]
    assert find_condition(space.status("repo", REPOSITORY), "Stalled")["status"] == "True"


def test_what_an_earlier_cluster_left_is_adopted(space: Workspace) -> None:
    """The marker file tells that it is a repository, and which one."""
    folder = space.add_repository("first")
    identity = space.wait_ready("first", REPOSITORY)["repositoryID"]
    marker = folder.path / ".sendense-repository.json"
    second = space.add_claim("second-claim")
    shutil.copy2(marker, second.path)
    space.kube.create(manifests.repository("second", space.namespace, claim="second-claim"))
    assert space.wait_ready("second", REPOSITORY)["repositoryID"] == identity


def test_two_objects_on_one_claim(space: Workspace) -> None:
    space.add_repository("older")
    space.wait_ready("older", REPOSITORY)
    space.kube.create(manifests.repository("younger", space.namespace, claim="older-claim"))
    assert "older" in space.wait_reason("ClaimInUse", "younger", REPOSITORY)
    space.wait_ready("older", REPOSITORY)
    space.kube.delete(REPOSITORY, "older", space.namespace)
    space.wait_ready("younger", REPOSITORY)


def test_user_and_groups_of_the_workers(space: Workspace) -> None:
    """For storage that squashes users: files belong to whom spec.podSecurity names."""
    security = {"runAsUser": 12345, "runAsGroup": 23456, "fsGroup": 23456, "supplementalGroups": [34567]}
    space.ready(Disk("pattern", 4 * MIB), podSecurity=security)
    space.backup()
    status = space.wait_phase("Completed")
    owned = (space.folders["repo"].path / status["disks"][0]["file"]).stat()
    assert (owned.st_uid, owned.st_gid) == (12345, 23456)
    (pod,) = space.workers()
    assert pod["spec"]["securityContext"]["supplementalGroups"] == [34567]
    images.assert_identical(space)


@pytest.fixture
def tiny(space: Workspace) -> Iterator[str]:
    """A folder on the first worker node that holds 64 MiB, as the node sees it; mounted inside of the node only."""
    node = repositories.worker_nodes(space.kube)[0]
    path = f"/mnt/{space.namespace}"
    engine("exec", node, "mkdir", "-p", path)
    engine("exec", node, "mount", "-t", "tmpfs", "-o", "size=64m,mode=0777", "tmpfs", path)
    yield path
    engine("exec", node, "umount", "--lazy", path)


def test_a_read_only_file_system(space: Workspace, tiny: str) -> None:
    node = repositories.worker_nodes(space.kube)[0]
    engine("exec", node, "chown", "65532:65532", tiny)
    engine("exec", node, "mount", "-o", "remount,ro", tiny)
    space.add_repository(on_node=tiny, probeIntervalSeconds=OFTEN)
    space.wait_reason("ReadOnly", "repo", REPOSITORY)
    engine("exec", node, "mount", "-o", "remount,rw", tiny)
    space.wait_ready("repo", REPOSITORY)


def test_a_repository_with_less_room_than_it_shall_keep(space: Workspace, tiny: str) -> None:
    space.add_repository(on_node=tiny, minFreeBytes=1 << 30)
    message = space.wait_reason("RepositoryFull", "repo", REPOSITORY)
    assert "free" in message
    space.add_secret()
    space.add_appliance()
    space.add_vm("vm", Disk("pattern", 4 * MIB))
    space.backup()
    assert "RepositoryFull" in space.wait_reason("RepositoryNotReady")


def test_a_backup_that_runs_out_of_room(space: Workspace, tiny: str) -> None:
    """A clean failure with the numbers, the partial removed, the room back."""
    node = repositories.worker_nodes(space.kube)[0]
    space.ready(Disk("random", 96 * MIB), on_node=tiny, minFreeBytes=8 * MIB, probeIntervalSeconds=OFTEN)
    space.backup()
    failed = find_condition(space.wait_phase("Failed"), "Stalled")
    assert failed["reason"] == "RepositoryFull"
    assert any(character.isdigit() for character in failed["message"])
    assert ".partial" not in engine("exec", node, "find", tiny)
    assert ".qcow2" not in engine("exec", node, "find", tiny)
    used = int(engine("exec", node, "df", "--output=used", "-k", tiny).split()[-1])
    assert used < 1024
    space.add_vm("small", Disk("random", 4 * MIB))
    space.backup("small", vm="small")
    space.wait_phase("Completed", "small")


def test_partials_of_the_dead_are_swept_and_nothing_else(space: Workspace) -> None:
    space.ready(Disk("pattern", 4 * MIB), probeIntervalSeconds=OFTEN)
    space.backup()
    status = space.wait_phase("Completed")
    folder = space.folders["repo"]
    layer = folder.path / status["disks"][0]["file"]
    stray = layer.with_name("full-20200101-000000.qcow2.partial")
    stray.write_bytes(b"half")
    unknown = layer.with_name("notes.txt")
    unknown.write_text("mine")
    wait_for("the stray partial swept", lambda: until(not stray.exists(), folder.files()), timeout=SLOW_MACHINE)
    assert unknown.exists()
    assert layer.exists()
    assert folder.manifests()


def test_a_repository_that_was_exchanged(space: Workspace) -> None:
    """Another identity in the folder than the status says: nothing is written there."""
    space.ready(Disk("pattern", 4 * MIB), probeIntervalSeconds=OFTEN)
    space.wait_ready("repo", REPOSITORY)
    folder = space.folders["repo"]
    marker = folder.path / ".sendense-repository.json"
    text = marker.read_text()
    identity = space.status("repo", REPOSITORY)["repositoryID"]
    marker.write_text(text.replace(identity, "0" * 8 + identity[8:]))
    space.wait_reason("RepositoryChanged", "repo", REPOSITORY)
    space.backup()
    space.wait_reason({"RepositoryNotReady", "RepositoryChanged"})
    assert folder.layers() == []
