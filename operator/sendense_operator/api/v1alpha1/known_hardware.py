"""Hardware of the VM of a restore point, in the status of its Backup."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sendense_operator.api.v1alpha1.base import MAX_DISKS, Model, ShortText
from sendense_operator.vm_hardware import MAC_ADDRESS, MAX_MEMORY, MAX_NETWORK_CARDS, MAX_PROCESSORS, Hardware

Processors = Annotated[int, Field(ge=1, le=MAX_PROCESSORS)]
MemoryBytes = Annotated[int, Field(ge=1, le=MAX_MEMORY)]
MacAddress = Annotated[str, Field(min_length=17, max_length=17, pattern=f"^{MAC_ADDRESS}$")]


class KnownNetworkCard(Model):
    """One network card of the VM."""

    network: ShortText = ""
    """Name of its network (port group) in vCenter; empty: not reported."""
    mac_address: MacAddress | None = None
    """MAC address in lower case; absent: not reported."""


class KnownHardware(Model):
    """What vCenter reported of the VM when the restore point was made. It reports neither firmware nor disk buses."""

    processors: Processors | None = None
    """Number of virtual processors; absent: not reported."""
    memory_bytes: MemoryBytes | None = None
    """Memory in bytes; absent: not reported."""
    guest_os: ShortText = Field(default="", alias="guestOS")
    """VMware's identifier of the guest operating system, such as ubuntu64Guest; empty: not reported."""
    network_cards: Annotated[
        list[KnownNetworkCard],
        Field(max_length=MAX_NETWORK_CARDS, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = []
    """Network cards in the order in which vCenter reported them."""
    datastores: Annotated[
        list[ShortText], Field(max_length=MAX_DISKS, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    """Datastore of each disk, in device order; empty texts: not reported."""


def known_hardware(hardware: Hardware | None) -> KnownHardware | None:
    """Return the hardware of a worker's answer or of a catalogue as the status has it; None stays None."""
    if hardware is None:
        return None
    shown = hardware.shown()
    return KnownHardware(
        processors=shown.processors,
        memory_bytes=shown.memory_bytes,
        guest_os=shown.guest_os,
        network_cards=[
            KnownNetworkCard(network=card.network, mac_address=card.mac_address or None) for card in shown.network_cards
        ],
        datastores=list(shown.datastores),
    )
