"""Words that can't be names of new objects. Pure."""

from __future__ import annotations

from typing import Final

from sendense_operator.gateway.rest.errors import RestError

RESERVED_BACKUPS: Final = frozenset({"start", "list", "chain", "consolidate"})
"""Words that stand where an id of a Backup stands in a path: never taken for one."""
RESERVED_RESTORES: Final = frozenset({"start", "list"})
"""The same for Restores."""


def check_new_name(field: str, name: str | None, reserved: frozenset[str]) -> None:
    """Raise RestError (400) for a name that the paths could not reach. `field`: of the body."""
    if name in reserved:
        raise RestError(400, f"{field} must be none of: {', '.join(sorted(reserved))}")


def check_id(field: str, name: str, reserved: frozenset[str]) -> None:
    """Raise RestError (405) for a word in a path that is no id. `field`: of the path."""
    if name in reserved:
        raise RestError(405, "method not allowed", f"{name} is no {field}")
