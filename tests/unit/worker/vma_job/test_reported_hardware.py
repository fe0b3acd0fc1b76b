from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.vm_hardware import MAX_NETWORK_CARDS, Hardware, NetworkCard
from sendense_operator.vma.messages import InventoryVM
from sendense_operator.worker.vma_job.reported_hardware import reported_hardware

VM: dict[str, Any] = {"name": "db", "path": "/DC1/vm/db"}
DISK = {"id": "disk-2000", "capacity_bytes": 1 << 30, "datastore": "ssd"}


def reported(**fields: Any) -> Hardware:
    return reported_hardware(InventoryVM.model_validate({**VM, **fields}))


def test_what_the_appliance_reports_is_kept() -> None:
    card = {"name": "VM Network", "type": "", "connected": True, "mac_address": "00:50:56:AB:00:01"}
    found = reported(num_cpu=4, memory_mb=8192, guest_os="ubuntu64Guest", networks=[card], disks=[DISK])
    assert found == Hardware(
        processors=4,
        memory_bytes=8 << 30,
        guest_os="ubuntu64Guest",
        network_cards=(NetworkCard(network="VM Network", mac_address="00:50:56:ab:00:01"),),
        datastores=("ssd",),
    )


@pytest.mark.parametrize("fields", [{}, {"networks": None, "num_cpu": None, "memory_mb": None}])
def test_what_it_does_not_report_is_unknown(fields: dict[str, Any]) -> None:
    assert reported(**fields) == Hardware()


@pytest.mark.parametrize("number", [0, -1, "four", True, 1.5, 10**30, [], {}])
def test_a_number_out_of_bounds_is_unknown(number: object) -> None:
    found = reported(num_cpu=number, memory_mb=number)
    assert (found.processors, found.memory_bytes) == (None, None)


@pytest.mark.parametrize("address", ["", "00:50:56", "00:50:56:00:00:01:02", "zz:50:56:00:00:01", None, 7])
def test_a_mac_address_that_is_none_is_left_out(address: object) -> None:
    assert reported(networks=[{"name": "n", "mac_address": address}]).network_cards[0].mac_address == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
)


@given(
    cards=st.lists(st.fixed_dictionaries({}, optional={"name": JSON, "mac_address": JSON}) | JSON, max_size=60) | JSON,
    number=JSON,
)
def test_nothing_in_these_fields_fails_a_backup(cards: object, number: object) -> None:
    found = reported(networks=cards, num_cpu=number, memory_mb=number)
    assert len(found.network_cards) <= MAX_NETWORK_CARDS
    assert Hardware.model_validate_json(found.model_dump_json()) == found
