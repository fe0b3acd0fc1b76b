"""Hardware of a VM as the VMA reports it, for the manifest of its restore point."""

from __future__ import annotations

import re

from sendense_operator.vm_hardware import (
    MAC_ADDRESS,
    MAX_MEMORY,
    MAX_NETWORK_CARDS,
    MAX_PROCESSORS,
    MAX_TEXT,
    Hardware,
    NetworkCard,
)
from sendense_operator.vma.messages import InventoryVM

_MIB = 1 << 20
_MAC_ADDRESS = re.compile(MAC_ADDRESS)


def reported_hardware(vm: InventoryVM) -> Hardware:
    """Return what the VMA reported of the VM. What is out of bounds counts as not reported: no backup fails for it."""
    memory = vm.memory_mb * _MIB if vm.memory_mb is not None else None
    return Hardware(
        processors=_within(vm.num_cpu, MAX_PROCESSORS),
        memory_bytes=_within(memory, MAX_MEMORY),
        guest_os=vm.guest_os[:MAX_TEXT],
        network_cards=tuple(
            NetworkCard(network=card.name[:MAX_TEXT], mac_address=_mac_address(card.mac_address))
            for card in vm.networks[:MAX_NETWORK_CARDS]
        ),
        datastores=tuple(disk.datastore[:MAX_TEXT] for disk in vm.disks),
    )


def _within(value: int | None, most: int) -> int | None:
    return value if value is not None and value <= most else None


def _mac_address(reported: str) -> str:
    text = reported.strip().lower()
    return text if _MAC_ADDRESS.fullmatch(text) else ""
