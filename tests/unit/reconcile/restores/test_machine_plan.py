"""The VirtualMachine that is planned from the hardware of a restore point, whatever vCenter's names are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.api.v1alpha1.known_hardware import KnownHardware
from sendense_operator.api.v1alpha1.restore import RestoredDiskStatus
from sendense_operator.api.v1alpha1.virtual_machine_target import PlannedMachine, VirtualMachineTarget
from sendense_operator.reconcile.restores.machine_plan import choose_storage_classes, decide_machine
from sendense_operator.reconcile.state.problem import Meaning, Problem

GIB = 1 << 30
MAC = "00:50:56:ab:00:01"
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=256)
HOSTILE = '"; rm -rf / #\n{{x}} \u202e'


def hardware(*networks: str, **fields: Any) -> KnownHardware:
    cards = [
        {"network": network, "macAddress": f"00:50:56:ab:00:{index:02x}"} for index, network in enumerate(networks)
    ]
    plain = {"processors": 2, "memoryBytes": GIB, "guestOS": "ubuntu64Guest", "networkCards": cards}
    return KnownHardware.model_validate({**plain, **fields})


def target(**fields: Any) -> VirtualMachineTarget:
    return VirtualMachineTarget.model_validate({"name": "web", **fields})


def planned(known: KnownHardware | None, **fields: Any) -> PlannedMachine:
    found = decide_machine(target(**fields), known, "b1")
    assert isinstance(found, PlannedMachine), found
    return found


def refused(known: KnownHardware | None, **fields: Any) -> Problem:
    found = decide_machine(target(**fields), known, "b1")
    assert isinstance(found, Problem)
    assert found.meaning is Meaning.FINAL
    return found


@pytest.mark.parametrize(
    ("guest", "firmware", "bus", "model"),
    [
        ("ubuntu64Guest", "BIOS", "Virtio", "Virtio"),
        ("rhel8_64Guest", "BIOS", "Virtio", "Virtio"),
        ("vmwarePhoton64Guest", "BIOS", "Virtio", "Virtio"),
        ("Red Hat Enterprise Linux 8 (64-bit)", "BIOS", "Virtio", "Virtio"),
        ("windows2019srv_64Guest", "BIOS", "SATA", "E1000e"),
        ("windows11_64Guest", "EFI", "SATA", "E1000e"),
        ("Microsoft Windows 11 (64-bit)", "EFI", "SATA", "E1000e"),
        ("solaris11_64Guest", "BIOS", "SATA", "E1000e"),
        ("", "BIOS", "SATA", "E1000e"),
    ],
)
def test_defaults_follow_the_guest(guest: str, firmware: str, bus: str, model: str) -> None:
    machine = planned(hardware(guestOS=guest))
    assert (machine.firmware, machine.disk_bus, machine.network_card_model) == (firmware, bus, model)


def test_the_spec_overrules_the_restore_point() -> None:
    wanted = {
        "processors": 8,
        "memoryBytes": 4 * GIB,
        "firmware": "EFISecureBoot",
        "diskBus": "SCSI",
        "networkCardModel": "E1000",
    }
    machine = planned(hardware(), hardware=wanted).to_dict()
    assert {name: machine[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("known", "given_fields", "missing"),
    [
        (None, {}, ["processors", "memoryBytes"]),
        (hardware(processors=None), {}, ["processors"]),
        (hardware(memoryBytes=None), {}, ["memoryBytes"]),
        (None, {"processors": 1}, ["memoryBytes"]),
    ],
)
def test_what_is_not_known_is_named(known: KnownHardware | None, given_fields: Any, missing: list[str]) -> None:
    found = refused(known, hardware=given_fields)
    assert found.reason == "HardwareUnknown"
    assert [
        name for name in ("processors", "memoryBytes") if f"virtualMachine.hardware.{name}" in found.message
    ] == missing


def test_cards_are_connected_by_their_networks() -> None:
    tables = {"networks": [{"network": "LAN", "multus": "lan"}], "defaultNetwork": {"pod": {}}}
    cards = planned(hardware("LAN", "DMZ", "LAN"), **tables).network_cards
    assert [(card.network, card.multus, card.pod is not None) for card in cards] == [
        ("LAN", "lan", False),
        ("DMZ", None, True),
        ("LAN", "lan", False),
    ]


@pytest.mark.parametrize(("keep", "addresses"), [(True, [MAC, None, None, None]), (False, [None] * 4)])
def test_mac_addresses(keep: bool, addresses: list[str | None]) -> None:
    """Of a card each: none twice, none of a group, none of nobody."""
    found = [MAC, MAC, "01:00:5e:00:00:01", "00:00:00:00:00:00"]
    cards = [{"network": "LAN", "macAddress": mac} for mac in found]
    tables = {"networks": [{"network": "LAN", "multus": "lan"}], "keepMacAddresses": keep}
    machine = planned(hardware(networkCards=cards), **tables)
    assert [card.mac_address for card in machine.network_cards] == addresses


def test_the_pod_network_takes_one_card() -> None:
    found = refused(hardware("LAN", "DMZ"), defaultNetwork={"pod": {}})
    assert found.reason == "PodNetworkShared"
    assert '"LAN", "DMZ"' in found.message


@pytest.mark.parametrize(("default", "count"), [({"multus": "lan"}, 1), (None, 0)])
def test_a_machine_of_which_nothing_is_known(default: Any, count: int) -> None:
    fields = {"defaultNetwork": default} if default else {}
    machine = planned(None, hardware={"processors": 1, "memoryBytes": GIB}, **fields)
    assert len(machine.network_cards) == count


def test_a_machine_that_had_no_card_gets_none() -> None:
    assert planned(hardware(), defaultNetwork={"pod": {}}).network_cards == []


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_any_name_is_compared_whole_and_shown_in_one_line(networks: list[str]) -> None:
    found = refused(hardware(*networks))
    assert found.reason == "NetworkNotMapped"
    assert found.message.isprintable()
    assert len(found.message) < 1024
    named = [{"network": network, "multus": "lan"} for network in set(networks) if network]
    cards = planned(hardware(*networks), networks=named, defaultNetwork={"multus": "other"}).network_cards
    assert [card.multus for card in cards] == ["lan" if network else "other" for network in networks]


@pytest.mark.parametrize("name", [HOSTILE, "Ünïcode/网络", "$(reboot)", "'--'"])
def test_hostile_names_are_names(name: str) -> None:
    networks = [{"network": name, "multus": "lan"}]
    assert planned(hardware(name), networks=networks).network_cards[0].multus == "lan"
    near = refused(hardware(f"{name} "), networks=networks)
    assert near.reason == "NetworkNotMapped"


def classes(known: KnownHardware | None, **fields: Any) -> list[str | None] | Problem:
    disks = [RestoredDiskStatus(index=index, virtual_size=GIB) for index in (0, 2)]
    found = choose_storage_classes(target(**fields), known, disks)
    return found if isinstance(found, Problem) else [disk.storage_class_name for disk in found]


TABLE = [{"datastore": "ssd", "storageClassName": "fast"}]
STORED = hardware(datastores=["ssd", "hdd", "hdd"])


@pytest.mark.parametrize(
    ("known", "fields", "expected"),
    [
        (STORED, {}, [None, None]),
        (STORED, {"storageClasses": TABLE, "defaultStorageClassName": "slow"}, ["fast", "slow"]),
        (STORED, {"defaultStorageClassName": "slow"}, ["slow", "slow"]),
        (None, {"storageClasses": TABLE, "defaultStorageClassName": "slow"}, ["slow", "slow"]),
    ],
)
def test_storage_classes(known: KnownHardware | None, fields: Any, expected: list[str | None]) -> None:
    assert classes(known, **fields) == expected


@pytest.mark.parametrize(
    ("known", "words"), [(STORED, 'for "hdd" of disk 2:'), (None, "for the unknown datastore of disk 0, the unknown")]
)
def test_datastores_that_are_not_mapped(known: KnownHardware | None, words: str) -> None:
    found = classes(known, storageClasses=TABLE)
    assert isinstance(found, Problem)
    assert (found.reason, found.meaning) == ("DatastoreNotMapped", Meaning.FINAL)
    assert words in found.message
