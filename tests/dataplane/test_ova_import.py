"""An OVA that a restore made is what VMware's own client imports into a simulated vCenter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.dataplane.exporting import FOLDER, run_into
from tests.dataplane.layered_chain import SIZE, LayeredChain
from tests.support.chains import PATHS
from tests.support.vcenter_simulator import VCenterSimulator, disks_of, vcenter_simulator

from sendense_operator.restore_task import FileFormat, FileHardware, FileTask, SCSIController
from sendense_operator.vm_hardware import Hardware, NetworkCard

HOSTILE = '"/><ovf:Item>&amp;\x00\x1b]]>\ud83d</ovf:Name>'


@pytest.fixture(scope="module")
def vcenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VCenterSimulator]:
    with vcenter_simulator(tmp_path_factory.mktemp("vcenter")) as simulator:
        yield simulator


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "targets/files").mkdir(parents=True)
    return tmp_path / "targets"


def archive(targets: Path) -> Path:
    return targets / "files" / FOLDER / "db-b4.ova"


def with_hardware(chain: LayeredChain, hardware: Hardware, vmware_name: str) -> None:
    """Let the fourth restore point be one that knows the VM's hardware."""
    manifest = chain.points[3]
    vm = manifest.vm.model_copy(update={"hardware": hardware, "vmware_name": vmware_name})
    chain.points[3] = manifest.model_copy(update={"vm": vm})
    place = chain.root / PATHS.manifests(manifest.backup.name, manifest.backup.uid)[0]
    place.write_bytes(chain.points[3].to_json())


async def test_a_restore_point_that_knows_no_hardware(
    vcenter: VCenterSimulator, sound: LayeredChain, files: Path
) -> None:
    await run_into(sound, files, FileFormat.OVA).answer()
    config = vcenter.import_ova(archive(files), "plain")
    hardware = config["hardware"]
    assert (hardware["numCPU"], hardware["memoryMB"], config["guestId"]) == (2, 4096, "otherGuest64")
    assert disks_of(config) == [("Hard disk 0", SIZE), ("Hard disk 1", SIZE)]


async def test_the_hardware_of_the_vm(vcenter: VCenterSimulator, chain: LayeredChain, files: Path) -> None:
    cards = (NetworkCard(network="VM Network"), NetworkCard(network="DC0_DVPG0", mac_address="00:50:56:00:00:01"))
    known = Hardware(processors=3, memory_bytes=5 << 30, guest_os="debian12_64Guest", network_cards=cards)
    with_hardware(chain, known, "Prod DB")
    await run_into(chain, files, FileFormat.OVA).answer()
    config = vcenter.import_ova(archive(files), "known")
    hardware = config["hardware"]
    assert (hardware["numCPU"], hardware["memoryMB"], config["guestId"]) == (3, 5120, "debian12_64Guest")
    labels = [device["deviceInfo"]["label"] for device in hardware["device"]]
    assert sum(label.startswith("ethernet") for label in labels) == 2, labels
    macs = [device["macAddress"] for device in hardware["device"] if "macAddress" in device]
    assert "00:50:56:00:00:01" not in macs, "the original may still run"


async def test_hardware_of_the_restore(vcenter: VCenterSimulator, chain: LayeredChain, files: Path) -> None:
    with_hardware(chain, Hardware(processors=3, memory_bytes=5 << 30), "db")
    wanted = FileHardware(processors=7, memory_bytes=6 << 30, scsi_controller=SCSIController.PARAVIRTUAL)
    task = FileTask(format=FileFormat.OVA, folder=FOLDER, hardware=wanted)
    run = run_into(chain, files, FileFormat.OVA)
    run.task = run.task.model_copy(update={"file": task})
    await run.answer()
    config = vcenter.import_ova(archive(files), "wanted")
    assert (config["hardware"]["numCPU"], config["hardware"]["memoryMB"]) == (7, 6144)
    labels = [device["deviceInfo"]["label"] for device in config["hardware"]["device"]]
    assert any(label.startswith("pvscsi") for label in labels), labels


async def test_hostile_names(vcenter: VCenterSimulator, chain: LayeredChain, files: Path) -> None:
    text = HOSTILE.encode("utf-8", "replace").decode()
    with_hardware(chain, Hardware(guest_os=text, network_cards=(NetworkCard(network=text),)), text)
    await run_into(chain, files, FileFormat.OVA).answer()
    config = vcenter.import_ova(archive(files), "hostile")
    assert config["guestId"] == "otherGuest64"
    assert len(disks_of(config)) == 2
