"""Hardware of a VM outside of its manifest: bounded, and never half of a name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.api.v1alpha1.known_hardware import KnownHardware, known_hardware
from sendense_operator.vm_hardware import MAX_SHOWN_TEXT, MAX_TEXT, Hardware, NetworkCard

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=MAX_TEXT)
CARDS = st.builds(NetworkCard, network=TEXTS, mac_address=st.sampled_from(["", "00:50:56:ab:00:01"]))
HARDWARE = st.builds(
    Hardware,
    processors=st.none() | st.integers(1, 4096),
    memory_bytes=st.none() | st.integers(1, 1 << 50),
    guest_os=TEXTS,
    network_cards=st.lists(CARDS, max_size=4).map(tuple),
    datastores=st.lists(TEXTS, max_size=4).map(tuple),
)


@given(HARDWARE)
def test_any_hardware_fits_a_status(hardware: Hardware) -> None:
    """A text that is too long counts as not reported: half a name could be the name of another network."""
    known = known_hardware(hardware)
    assert known is not None
    assert KnownHardware.model_validate(known.to_dict()) == known
    for kept, given_text in zip(known.datastores, hardware.datastores, strict=True):
        assert kept == (given_text if len(given_text) <= MAX_SHOWN_TEXT else "")
    assert [card.mac_address or "" for card in known.network_cards] == [
        card.mac_address for card in hardware.network_cards
    ]


def test_unknown_hardware_stays_unknown() -> None:
    assert known_hardware(None) is None
