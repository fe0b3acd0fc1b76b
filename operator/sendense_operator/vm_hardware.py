"""Hardware of a VM as a manifest keeps it, so that a restored VM resembles the one that was backed up.

Manifest, answer and catalogue have it in this form. All texts come from vCenter: they are data, and never become names
of files or objects.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from sendense_operator.task import MAX_DISKS, Wire

MAX_PROCESSORS: Final = 4096
MAX_MEMORY: Final = 1 << 50
"""Most bytes of memory."""
MAX_NETWORK_CARDS: Final = 32
"""Most network cards; VMware allows 10."""
MAC_ADDRESS: Final = "[0-9a-f]{2}(:[0-9a-f]{2}){5}"
"""Pattern of a MAC address in lower case."""
MAX_TEXT: Final = 1024
MAX_SHOWN_TEXT: Final = 256
"""Most characters of a text outside of the manifest; names in vCenter have up to 80, some of them escaped."""

_Text = Annotated[str, Field(max_length=MAX_TEXT)]


class NetworkCard(Wire):
    """One virtual network card."""

    network: _Text
    """Name of the network (port group) that it is connected to."""
    mac_address: Annotated[str, Field(pattern=rf"^({MAC_ADDRESS})?$")] = ""
    """MAC address in lower case; empty if vCenter did not report a valid one."""


class Hardware(Wire):
    """What vCenter reported when the restore point was made. It reports neither firmware nor disk buses."""

    processors: Annotated[int, Field(ge=1, le=MAX_PROCESSORS)] | None = None
    """Number of virtual processors; None: not reported."""
    memory_bytes: Annotated[int, Field(ge=1, le=MAX_MEMORY)] | None = None
    """Memory in bytes; None: not reported."""
    guest_os: _Text = ""
    """VMware's identifier of the guest operating system, such as ubuntu64Guest; empty: not reported."""
    network_cards: Annotated[tuple[NetworkCard, ...], Field(max_length=MAX_NETWORK_CARDS)] = ()
    """Network cards in the order in which vCenter reported them."""
    datastores: Annotated[tuple[_Text, ...], Field(max_length=MAX_DISKS)] = ()
    """Datastore of each of the VM's disks, in device order; empty texts where it was not reported."""

    def shown(self) -> Hardware:
        """Return the hardware as answer, catalogue and status have it.

        A text of more than MAX_SHOWN_TEXT characters counts as not reported: no table could name it.
        """
        return Hardware(
            processors=self.processors,
            memory_bytes=self.memory_bytes,
            guest_os=_shown(self.guest_os),
            network_cards=tuple(
                NetworkCard(network=_shown(card.network), mac_address=card.mac_address) for card in self.network_cards
            ),
            datastores=tuple(_shown(datastore) for datastore in self.datastores),
        )


def _shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_TEXT else ""
