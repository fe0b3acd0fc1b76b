"""What a list is asked for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar, get_args

from sendense_operator.gateway.rest.cached_objects import CachedBackup
from sendense_operator.gateway.rest.errors import RestError
from sendense_operator.gateway.rest.schemas import BackupState, BackupType

T = TypeVar("T")
STATES: Final[tuple[str, ...]] = get_args(BackupState)
TYPES: Final[tuple[str, ...]] = get_args(BackupType)


@dataclass(frozen=True, slots=True)
class Filter:
    """All that is not empty must fit."""

    vm_name: str = ""
    """VMware's name, or the ProtectedVM's."""
    vm_context_id: str = ""
    repository_id: str = ""
    status: str = ""
    backup_type: str = ""

    def __post_init__(self) -> None:
        """Raise RestError (400) for a word that no backup can have."""
        for name, value, allowed in (("status", self.status, STATES), ("backup_type", self.backup_type, TYPES)):
            if value and value not in allowed:
                raise RestError(400, f"{name} must be one of: {', '.join(allowed)}")

    def select(self, records: Iterable[CachedBackup]) -> list[CachedBackup]:
        """Return those that fit, in the order they come."""
        tests: list[Callable[[CachedBackup], bool]] = []
        if self.vm_context_id:
            tests.append(lambda record: record.vm == self.vm_context_id)
        if self.vm_name:
            tests.append(lambda record: self.vm_name in (record.vm_name, record.vm))
        if self.repository_id:
            tests.append(lambda record: record.repository == self.repository_id)
        if self.status:
            tests.append(lambda record: record.status == self.status)
        if self.backup_type:
            tests.append(lambda record: record.type == self.backup_type)
        found = list(records)
        for test in tests:
            found = list(filter(test, found))
        return found


def window(items: Sequence[T], limit: int | None, offset: int) -> Sequence[T]:
    """At most `limit` of them (None: all) after the first `offset`."""
    return items[offset : None if limit is None else offset + limit]
