"""What is in the repository is what was on the VM's disks."""

from __future__ import annotations

import re

import pytest
from tests.support import images
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

KIB = 1024


def test_two_disks(space: Workspace) -> None:
    space.ready(Disk("ext4", 64 * MIB, (("files", 20),)), Disk("pattern", 48 * MIB))
    space.backup()
    status = space.wait_phase("Completed")
    images.assert_identical(space)
    images.check(space, *(space.folders["repo"].path / disk["file"] for disk in status["disks"]))


@pytest.mark.parametrize(
    "disk",
    [
        pytest.param(Disk("empty", 64 * MIB), id="empty"),
        pytest.param(Disk("random", 24 * MIB), id="full"),
        pytest.param(Disk("hidden", 64 * MIB), id="data hidden between the samples"),
        pytest.param(Disk("random", 5 * MIB + 512), id="512 bytes more than MiB"),
        pytest.param(Disk("pattern", 33 * MIB + 64 * KIB + 1536), id="no multiple of the cluster"),
        pytest.param(Disk("random", 512), id="one sector"),
    ],
)
def test_a_disk(space: Workspace, disk: Disk) -> None:
    space.ready(disk)
    space.backup()
    space.wait_phase("Completed")
    images.assert_identical(space)


def test_sixteen_disks_of_different_sizes(space: Workspace) -> None:
    kinds = ("pattern", "random", "empty", "hidden")
    space.ready(*(Disk(kinds[n % 4], (n + 2) * MIB + n * 512) for n in range(16)))
    space.backup()
    status = space.wait_phase("Completed")
    images.assert_identical(space)
    assert [disk["key"] for disk in status["disks"]] == [2000 + n for n in range(16)]


def test_status_and_manifest_say_what_was_stored(space: Workspace) -> None:
    space.ready(Disk("random", 8 * MIB), Disk("empty", 32 * MIB))
    space.backup()
    status = space.wait_phase("Completed")
    full, empty = status["disks"]
    for disk in (full, empty):
        file = space.folders["repo"].path / disk["file"]
        assert disk["storedBytes"] == file.stat().st_blocks * 512
        assert disk["type"] == "Full"
        assert disk["percent"] == 100
        assert disk["changeID"]
    assert full["guestBytes"] == 8 * MIB
    assert empty["guestBytes"] == 0
    assert empty["storedBytes"] < 2 * MIB, "zeroes that the appliance writes must not take room"
    assert status["storedBytes"] == full["storedBytes"] + empty["storedBytes"]
    assert status["progress"]["totalBytes"] == 40 * MIB
    assert status["progress"]["percent"] == 100
    assert status["vmName"] == "vm"
    (manifest,) = space.folders["repo"].manifests()
    assert space.folders["repo"].files("**/backups/*.json") == [status["manifest"]]
    assert status["repositoryID"] == space.status("repo", "BackupRepository")["repositoryID"]
    assert [disk["file"] for disk in manifest["disks"]] == [full["file"], empty["file"]]


def test_layout_of_the_repository(space: Workspace) -> None:
    """Paths are made of Kubernetes' names, and nothing uncommitted is left."""
    space.ready(Disk("pattern", 8 * MIB), Disk("pattern", 8 * MIB))
    space.backup("monday")
    space.wait_phase("Completed", "monday")
    folder = space.folders["repo"]
    root = f"{space.namespace}/vm"
    assert all(re.fullmatch(rf"{root}/disk-[01]/full-\d{{8}}-\d{{6}}\.qcow2", name) for name in folder.layers())
    assert len(folder.layers()) == 2
    assert f"{root}/backups/monday.json" in folder.files()
    assert ".sendense-repository.json" in folder.files()
    assert folder.partials() == []


def test_a_second_full_shares_nothing_with_the_first(space: Workspace) -> None:
    space.ready(Disk("pattern", 16 * MIB))
    for name in ("first", "second"):
        space.backup(name)
        space.wait_phase("Completed", name)
        images.assert_identical(space, name)
    layers = space.folders["repo"].layers()
    assert len(layers) == 2
    for layer in layers:
        assert "backing-filename" not in images.info(space, space.folders["repo"].path / layer)
    chain_name = space.status("second")["chainName"]
    assert chain_name == space.status("first")["chainName"]
    chain = space.wait_ready(chain_name, "BackupChain")
    wait_for("both points in the chain", lambda: until(space.status(chain_name, "BackupChain")["points"] == 2, chain))
    chain = space.status(chain_name, "BackupChain")
    assert [point["backup"] for point in chain["restorePoints"]] == ["first", "second"]
    assert chain["latestBackup"] == "second"
    assert chain["storedBytes"] == sum(space.status(name)["storedBytes"] for name in ("first", "second"))


def test_a_folder_inside_the_volume(space: Workspace) -> None:
    space.ready(Disk("pattern", 8 * MIB), path="vmware/gold")
    space.backup()
    status = space.wait_phase("Completed")
    (file,) = (disk["file"] for disk in status["disks"])
    assert (space.folders["repo"].path / "vmware" / "gold" / file).is_file()
