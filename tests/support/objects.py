"""The type of what the tests read and write as JSON or YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Obj = dict[str, Any]
"""An object of the API server or of a REST answer: nested, of any fields."""


def find_condition(status: Mapping[str, Any], kind: str) -> Obj:
    """Return the condition of that type; empty when it is absent."""
    return next((dict(found) for found in status.get("conditions", []) if found["type"] == kind), {})


def status_and_reason(obj: Mapping[str, Any], kind: str) -> tuple[str, str]:
    """Return status and reason of an object's condition; both empty when it is absent."""
    found = find_condition(obj.get("status", {}), kind)
    return found.get("status", ""), found.get("reason", "")


def disk_types(status: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Return for each disk of a Backup what was made of it, and why a full where an increment was requested."""
    return [(disk["type"], disk.get("reason")) for disk in status["disks"]]
