"""Restore points as files in a claim, which leave the cluster: an OVA that vCenter imports, and raw images."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from pathlib import Path

from tests.support import manifests
from tests.support.objects import find_condition
from tests.support.points import History
from tests.support.vcenter_simulator import disks_of, vcenter_simulator
from tests.support.vma import MIB, Disk
from tests.support.workspace import Workspace

KIB = 1024
ODD = Disk("pattern", 9 * MIB + 1536)
SPARSE = Disk("hidden", 64 * MIB)


def into_files(space: Workspace, name: str, kind: str, folder: str) -> None:
    target = {"file": {"claimName": "exports", "format": kind, "folder": folder}}
    source = {"backupRef": {"name": "incr"}}
    space.kube.create(manifests.restore(name, space.namespace, source=source, target=target))


def test_an_ova_and_raw_files_in_one_claim(space: Workspace, history: History, tmp_path: Path) -> None:
    """Of an increment, one Restore after the other; what else is in the claim stays."""
    space.ready(ODD, SPARSE)
    history.backup("full")
    space.vma.write("vm", count=4, size=4096, seed=1)
    history.increment("incr")
    folder = space.add_claim("exports").path
    (folder / "notes.txt").write_text("mine")
    into_files(space, "ova", "OVA", "to/vcenter")
    into_files(space, "raw", "Raw", "to/kvm")
    for name in ("ova", "raw"):
        status = space.wait_phase("Completed", name, "Restore")
        assert find_condition(status, "Ready")["reason"] == "Restored"
        assert [disk["percent"] for disk in status["disks"]] == [100, 100]
    assert [disk["file"] for disk in space.status("raw", "Restore")["disks"]] == [
        "to/kvm/vm-incr-disk-0.raw",
        "to/kvm/vm-incr-disk-1.raw",
    ]
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == [
        "notes.txt",
        "to/kvm/vm-incr-disk-0.raw",
        "to/kvm/vm-incr-disk-1.raw",
        "to/vcenter/vm-incr.ova",
    ]
    for index, source in enumerate(history.kept["incr"]):
        subprocess.run(["cmp", str(source), str(folder / f"to/kvm/vm-incr-disk-{index}.raw")], check=True)
    assert_importable(folder / "to/vcenter/vm-incr.ova", tmp_path)


def assert_importable(archive: Path, home: Path) -> None:
    """The checksums are right, and VMware's own client makes a VM of it."""
    with tarfile.open(archive) as tar:
        members = {member.name: tar.extractfile(member) for member in tar}
        contents = {name: file.read() for name, file in members.items() if file is not None}
    assert list(contents) == ["vm-incr.ovf", "vm-incr.mf", "vm-incr-disk-0.vmdk", "vm-incr-disk-1.vmdk"]
    for line in contents["vm-incr.mf"].decode().splitlines():
        name, _, value = line.removeprefix("SHA256(").partition(")= ")
        assert hashlib.sha256(contents[name]).hexdigest() == value
    with vcenter_simulator(home) as vcenter:
        config = vcenter.import_ova(archive, "back")
    # The simulator counts KiB, and rounds down.
    assert disks_of(config) == [
        (f"Hard disk {index}", disk.virtual_size // KIB * KIB) for index, disk in enumerate((ODD, SPARSE))
    ]
    assert (config["hardware"]["numCPU"], config["hardware"]["memoryMB"]) == (2, 4096)
    assert any("macAddress" in device for device in config["hardware"]["device"])
