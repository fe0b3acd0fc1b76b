"""From the VirtualMachine of a request to that of the Restore object. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sendense_operator.gateway.rest.machine_schemas import Hardware, VirtualMachine


def machine_target(machine: VirtualMachine) -> dict[str, Any]:
    """Return `spec.target.virtualMachine`; what was left out stays so."""
    wanted = {
        "storageClasses": [
            {"datastore": one.datastore, "storageClassName": one.storage_class_name}
            for one in machine.storage_classes or []
        ],
        "defaultStorageClassName": machine.default_storage_class_name,
        "accessModes": machine.access_modes,
        "networks": [{"network": one.network, **one.to_spec()} for one in machine.networks or []],
        "defaultNetwork": machine.default_network.to_spec() if machine.default_network is not None else None,
        "hardware": _hardware(machine.hardware) if machine.hardware is not None else None,
    }
    kept = {name: value for name, value in wanted.items() if value}
    return {"name": machine.name, **kept, **({} if machine.keep_mac_addresses else {"keepMacAddresses": False})}


def _hardware(hardware: Hardware) -> dict[str, Any]:
    return given(
        {
            "processors": hardware.processors,
            "memoryBytes": hardware.memory_bytes,
            "firmware": hardware.firmware,
            "diskBus": hardware.disk_bus,
            "networkCardModel": hardware.network_card_model,
        }
    )


def given(fields: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields that were not left out."""
    return {name: value for name, value in fields.items() if value is not None}
