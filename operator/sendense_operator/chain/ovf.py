"""The OVF descriptor of an OVA: the hardware of a VM, its networks and its disks, as vCenter imports it.

Texts from vCenter only ever become text nodes and attribute values, which the XML library escapes. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from sendense_operator.restore_task import FileHardware, Firmware, SCSIController
from sendense_operator.vm_hardware import Hardware

DEFAULT_PROCESSORS: Final = 2
DEFAULT_MEMORY: Final = 4 << 30
"""Bytes of memory for a restore point that does not say how much the VM had."""
DEFAULT_NETWORK: Final = "VM Network"
"""Network of a card whose network is not known: the one that every ESXi host begins with."""
DISKS_PER_CONTROLLER: Final = 15
MAX_DISKS: Final = 4 * DISKS_PER_CONTROLLER

_OVF: Final = "http://schemas.dmtf.org/ovf/envelope/1"
_RASD: Final = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
_VSSD: Final = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
_VMW: Final = "http://www.vmware.com/schema/ovf"
_FORMAT: Final = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
_HARDWARE_VERSION: Final = "vmx-13"
"""Of vSphere 6.5: old enough for every vCenter, and new enough for EFI and large disks."""
_GUEST: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_OTHER_GUEST: Final = "otherGuest64"
_SUBTYPES: Final = {
    SCSIController.LSI_LOGIC: "lsilogic",
    SCSIController.LSI_LOGIC_SAS: "lsilogicsas",
    SCSIController.PARAVIRTUAL: "VirtualSCSI",
}
_MIB: Final = 1 << 20
_PROCESSOR, _MEMORY, _CONTROLLER, _NETWORK_CARD, _DISK = "3", "4", "6", "10", "17"
"""Resource types of CIM."""
_NOT_XML: Final = re.compile("[^ -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML document may contain, escaped or not, and line ends, which readers change."""
_MOST_ANNOTATION: Final = 2048

for _prefix, _uri in (("ovf", _OVF), ("rasd", _RASD), ("vssd", _VSSD), ("vmw", _VMW)):
    ET.register_namespace(_prefix, _uri)


@dataclass(frozen=True)
class ArchivedDisk:
    """One disk in the archive."""

    index: int
    file: str
    """Its name in the archive."""
    file_bytes: int
    virtual_size: int
    data_bytes: int
    """Bytes of the disk that are not known to be zeroes."""


@dataclass(frozen=True)
class Machine:
    """The VM that the descriptor describes."""

    name: str
    """Name of the ProtectedVM."""
    vmware_name: str
    """Its name in vCenter."""
    backup: str
    """Name of the Backup."""
    hardware: Hardware | None
    """As the restore point says; None: it does not."""
    wanted: FileHardware
    """What overrides it."""

    @property
    def processors(self) -> int:
        """Number of virtual processors."""
        known = self.hardware.processors if self.hardware is not None else None
        return self.wanted.processors or known or DEFAULT_PROCESSORS

    @property
    def memory_bytes(self) -> int:
        """Memory in bytes."""
        known = self.hardware.memory_bytes if self.hardware is not None else None
        return self.wanted.memory_bytes or known or DEFAULT_MEMORY

    @property
    def networks(self) -> list[str]:
        """Network of each network card."""
        cards = self.hardware.network_cards if self.hardware is not None else ()
        return [xml_text(card.network).strip() or DEFAULT_NETWORK for card in cards]

    @property
    def guest_os(self) -> str:
        """VMware's identifier of the guest operating system."""
        known = self.hardware.guest_os if self.hardware is not None else ""
        return known if _GUEST.fullmatch(known) else _OTHER_GUEST


def xml_text(text: str) -> str:
    """Return text from outside as it can be in an XML document: what can't is replaced by U+FFFD."""
    return _NOT_XML.sub("\ufffd", text)


def descriptor(machine: Machine, disks: Sequence[ArchivedDisk]) -> bytes:
    """Return the descriptor of an archive with these disks. Raises ValueError for more than MAX_DISKS."""
    if len(disks) > MAX_DISKS:
        raise ValueError(f"{len(disks)} disks, but an OVA has room for {MAX_DISKS}")
    root = ET.Element(_ovf("Envelope"))
    files = _child(root, "References")
    for disk in disks:
        _child(files, "File", href=disk.file, id=f"file{disk.index}", size=str(disk.file_bytes))
    _disk_section(root, disks)
    _network_section(root, machine.networks)
    _virtual_system(root, machine, disks)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _ovf(name: str) -> str:
    return f"{{{_OVF}}}{name}"


def _child(parent: ET.Element, name: str, text: str | None = None, **attributes: str) -> ET.Element:
    child = ET.SubElement(parent, _ovf(name), {_ovf(key): value for key, value in attributes.items()})
    child.text = text
    return child


def _section(parent: ET.Element, name: str, info: str, **attributes: str) -> ET.Element:
    section = _child(parent, name, **attributes)
    _child(section, "Info", info)
    return section


def _disk_section(root: ET.Element, disks: Iterable[ArchivedDisk]) -> None:
    section = _section(root, "DiskSection", "Virtual disks")
    for disk in disks:
        _child(
            section,
            "Disk",
            capacity=str(disk.virtual_size),
            capacityAllocationUnits="byte",
            diskId=f"disk{disk.index}",
            fileRef=f"file{disk.index}",
            format=_FORMAT,
            populatedSize=str(disk.data_bytes),
        )


def _network_section(root: ET.Element, networks: Iterable[str]) -> None:
    section = _section(root, "NetworkSection", "Networks")
    for name in dict.fromkeys(networks):
        network = _child(section, "Network")
        network.set(_ovf("name"), name)
        _child(network, "Description", name)


def _virtual_system(root: ET.Element, machine: Machine, disks: Sequence[ArchivedDisk]) -> None:
    system = _section(root, "VirtualSystem", "A virtual machine", id=machine.name)
    _child(system, "Name", machine.name)
    guest = _section(system, "OperatingSystemSection", "Guest operating system", id="1")
    guest.set(f"{{{_VMW}}}osType", machine.guest_os)
    note = f"{xml_text(machine.vmware_name)}, restored from restore point {machine.backup}"
    _child(_section(system, "AnnotationSection", "Origin"), "Annotation", note[:_MOST_ANNOTATION])
    hardware = _section(system, "VirtualHardwareSection", "Virtual hardware")
    family = _child(hardware, "System")
    values = {
        "ElementName": "Virtual Hardware Family",
        "InstanceID": "0",
        "VirtualSystemIdentifier": machine.name,
        "VirtualSystemType": _HARDWARE_VERSION,
    }
    for name, value in values.items():
        ET.SubElement(family, f"{{{_VSSD}}}{name}").text = value
    _items(hardware, machine, disks)
    if machine.wanted.firmware is not None:
        value = "efi" if machine.wanted.firmware is Firmware.EFI else "bios"
        required = {_ovf("required"): "false", f"{{{_VMW}}}key": "firmware", f"{{{_VMW}}}value": value}
        ET.SubElement(hardware, f"{{{_VMW}}}Config", required)


class _Items:
    """The items of a hardware section, numbered from 1 on."""

    def __init__(self, section: ET.Element) -> None:
        self._section, self._last = section, 0

    def add(self, name: str, kind: str, **values: str) -> str:
        """Add an item, and return its number. The schema wants the values in the order of their names."""
        self._last += 1
        item = _child(self._section, "Item")
        found = {"ElementName": name, "InstanceID": str(self._last), "ResourceType": kind, **values}
        for key in sorted(found):
            ET.SubElement(item, f"{{{_RASD}}}{key}").text = found[key]
        return str(self._last)


def _items(section: ET.Element, machine: Machine, disks: Sequence[ArchivedDisk]) -> None:
    items = _Items(section)
    processors, memory = machine.processors, -(-machine.memory_bytes // _MIB)
    items.add(f"{processors} virtual CPUs", _PROCESSOR, AllocationUnits="hertz * 10^6", VirtualQuantity=str(processors))
    items.add(f"{memory} MiB of memory", _MEMORY, AllocationUnits="byte * 2^20", VirtualQuantity=str(memory))
    subtype = _SUBTYPES[machine.wanted.scsi_controller or SCSIController.LSI_LOGIC]
    controller = ""
    for position, disk in enumerate(disks):
        bus, place = divmod(position, DISKS_PER_CONTROLLER)
        if place == 0:
            controller = items.add(f"SCSI controller {bus}", _CONTROLLER, Address=str(bus), ResourceSubType=subtype)
        # Unit 7 is the controller itself.
        unit = place if place < 7 else place + 1
        items.add(
            f"Hard disk {disk.index}",
            _DISK,
            AddressOnParent=str(unit),
            HostResource=f"ovf:/disk/disk{disk.index}",
            Parent=controller,
        )
    for number, network in enumerate(machine.networks):
        items.add(
            f"Network card {number}",
            _NETWORK_CARD,
            AddressOnParent=str(number + DISKS_PER_CONTROLLER),
            AutomaticAllocation="true",
            Connection=network,
            ResourceSubType="VmxNet3",
        )
