"""The descriptor of an OVA, above all of a VM whose names are hostile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.chain.ovf import (
    DEFAULT_MEMORY,
    DEFAULT_NETWORK,
    MAX_DISKS,
    ArchivedDisk,
    Machine,
    descriptor,
    xml_text,
)
from sendense_operator.restore_task import FileHardware, Firmware, SCSIController
from sendense_operator.vm_hardware import MAX_TEXT, Hardware, NetworkCard

GIB = 1 << 30
SPACES: Final = {
    "ovf": "http://schemas.dmtf.org/ovf/envelope/1",
    "rasd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData",
    "vmw": "http://www.vmware.com/schema/ovf",
}
OVF, RASD, VMW = (f"{{{uri}}}" for uri in SPACES.values())
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def machine(hardware: Hardware | None = None, vmware_name: str = "Prod", **wanted: Any) -> Machine:
    return Machine("db", vmware_name, "b1", hardware, FileHardware.model_validate(wanted))


def disks(count: int = 1) -> list[ArchivedDisk]:
    return [
        ArchivedDisk(index=at, file=f"db-b1-disk-{at}.vmdk", file_bytes=5, virtual_size=GIB, data_bytes=7)
        for at in range(count)
    ]


def read(made: Machine, count: int = 1) -> ET.Element:
    return ET.fromstring(descriptor(made, disks(count)))  # noqa: S314 - it is our own


def items(root: ET.Element, kind: str) -> Iterator[dict[str, str]]:
    for item in root.iterfind(".//ovf:Item", SPACES):
        values = {child.tag.removeprefix(RASD): child.text or "" for child in item}
        assert list(values) == sorted(values), "the schema wants an order"
        if values["ResourceType"] == kind:
            yield values


def test_the_parts_are_in_their_order() -> None:
    root = read(machine(), 2)
    assert [child.tag.removeprefix(OVF) for child in root] == [
        "References",
        "DiskSection",
        "NetworkSection",
        "VirtualSystem",
    ]
    files = [file.attrib for file in root.iterfind("ovf:References/ovf:File", SPACES)]
    assert files[1] == {f"{OVF}href": "db-b1-disk-1.vmdk", f"{OVF}id": "file1", f"{OVF}size": "5"}
    disk = root.findall("ovf:DiskSection/ovf:Disk", SPACES)[1].attrib
    assert (disk[f"{OVF}capacity"], disk[f"{OVF}capacityAllocationUnits"]) == (str(GIB), "byte")
    assert (disk[f"{OVF}fileRef"], disk[f"{OVF}diskId"], disk[f"{OVF}populatedSize"]) == ("file1", "disk1", "7")
    system = root.find("ovf:VirtualSystem", SPACES)
    assert system is not None
    assert system.get(f"{OVF}id") == "db"
    assert system.findtext("ovf:Name", namespaces=SPACES) == "db"
    note = system.findtext("ovf:AnnotationSection/ovf:Annotation", namespaces=SPACES)
    assert note == "Prod, restored from restore point b1"


def test_defaults_for_a_restore_point_that_knows_no_hardware() -> None:
    root = read(machine())
    assert [item["VirtualQuantity"] for item in items(root, "3")] == ["2"]
    assert [item["VirtualQuantity"] for item in items(root, "4")] == [str(DEFAULT_MEMORY >> 20)]
    assert [item["ResourceSubType"] for item in items(root, "6")] == ["lsilogic"]
    assert list(items(root, "10")) == []
    assert root.find(".//vmw:Config", SPACES) is None


def test_the_hardware_of_the_restore_point() -> None:
    cards = (NetworkCard(network="Prod"), NetworkCard(network=""), NetworkCard(network="Prod"))
    known = Hardware(processors=6, memory_bytes=(3 << 30) + 1, guest_os="windows2019srv_64Guest", network_cards=cards)
    root = read(machine(known))
    assert [item["VirtualQuantity"] for item in items(root, "3")] == ["6"]
    assert [item["VirtualQuantity"] for item in items(root, "4")] == ["3073"]
    assert [item["Connection"] for item in items(root, "10")] == ["Prod", DEFAULT_NETWORK, "Prod"]
    networks = [one.get(f"{OVF}name") for one in root.iterfind("ovf:NetworkSection/ovf:Network", SPACES)]
    assert networks == ["Prod", DEFAULT_NETWORK]
    guest = root.find(".//ovf:OperatingSystemSection", SPACES)
    assert guest is not None
    assert guest.get(f"{VMW}osType") == "windows2019srv_64Guest"


def test_the_restore_overrides_it() -> None:
    known = Hardware(processors=6, memory_bytes=3 << 30)
    wanted: dict[str, Any] = {
        "processors": 1,
        "memoryBytes": GIB,
        "firmware": Firmware.EFI,
        "scsiController": "Paravirtual",
    }
    root = read(machine(known, **wanted))
    assert [item["VirtualQuantity"] for item in items(root, "3")] == ["1"]
    assert [item["VirtualQuantity"] for item in items(root, "4")] == ["1024"]
    assert [item["ResourceSubType"] for item in items(root, "6")] == ["VirtualSCSI"]
    config = root.find(".//vmw:Config", SPACES)
    assert config is not None
    assert (config.get(f"{VMW}key"), config.get(f"{VMW}value")) == ("firmware", "efi")


@pytest.mark.parametrize("kind", SCSIController)
def test_each_controller_has_a_name(kind: SCSIController) -> None:
    (controller,) = items(read(machine(scsiController=kind)), "6")
    assert controller["ResourceSubType"]


def test_disks_on_their_controllers() -> None:
    root = read(machine(), MAX_DISKS)
    controllers = {item["InstanceID"]: item["Address"] for item in items(root, "6")}
    assert list(controllers.values()) == ["0", "1", "2", "3"]
    found = [(controllers[item["Parent"]], item["AddressOnParent"]) for item in items(root, "17")]
    units = [str(unit) for unit in range(16) if unit != 7]
    assert found == [(str(bus), unit) for bus in range(4) for unit in units]
    numbers = [item.findtext("rasd:InstanceID", namespaces=SPACES) for item in root.iterfind(".//ovf:Item", SPACES)]
    assert len(numbers) == len(set(numbers))
    with pytest.raises(ValueError, match="room for 60"):
        descriptor(machine(), disks(MAX_DISKS + 1))


@given(TEXTS, TEXTS, TEXTS)
def test_texts_from_vcenter_stay_texts(name: str, network: str, guest: str) -> None:
    plain = read(machine(Hardware(network_cards=(NetworkCard(network="n"),)), "v"))
    known = Hardware(guest_os=guest, network_cards=(NetworkCard(network=network),))
    root = read(machine(known, name))
    assert [element.tag for element in root.iter()] == [element.tag for element in plain.iter()]
    (card,) = items(root, "10")
    assert card["Connection"] == (xml_text(network).strip() or DEFAULT_NETWORK)
    section = root.find("ovf:NetworkSection/ovf:Network", SPACES)
    assert section is not None
    assert section.get(f"{OVF}name") == card["Connection"]
    note = root.findtext(".//ovf:Annotation", namespaces=SPACES)
    assert note is not None
    assert note.startswith(xml_text(name))


@pytest.mark.parametrize("text", ["<x/>", '" a="b', "]]>", "&lt;", "a\x00b", "\x1b[31m", "a\r\nb", "\ufffe"])
def test_what_no_document_may_contain(text: str) -> None:
    root = read(machine(Hardware(network_cards=(NetworkCard(network=f"n{text}n"),)), f"v{text}"))
    found = root.findtext(".//rasd:Connection", namespaces=SPACES)
    assert found == f"n{xml_text(text)}n"
    assert xml_text(text).isprintable() or "\ufffd" in xml_text(text)


def test_the_annotation_is_bounded() -> None:
    root = read(machine(vmware_name="x" * (MAX_TEXT * 4)))
    assert len(root.findtext(".//ovf:Annotation", namespaces=SPACES) or "") == 2048
