"""What a list is asked for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar, get_args

from sendense_operator.gateway.rest.errors import RestError
from sendense_operator.gateway.rest.schemas import BackupState, BackupType
from sendense_operator.views.cached_objects import CachedBackup, CachedRestore, CachedRun

T = TypeVar("T")
STATES: Final[tuple[str, ...]] = get_args(BackupState)
TYPES: Final[tuple[str, ...]] = get_args(BackupType)


@dataclass(frozen=True, slots=True)
class _Filter:
    """All that is not empty must fit."""

    vm_name: str = ""
    """VMware's name, or the ProtectedVM's."""
    vm_context_id: str = ""
    repository_id: str = ""
    status: str = ""

    def __post_init__(self) -> None:
        """Raise RestError (400) for a state that nothing can have."""
        _check_word("status", self.status, STATES)

    def _fits(self, record: CachedRun) -> bool:
        return (
            self.vm_context_id in ("", record.vm)
            and self.vm_name in ("", record.vm_name, record.vm)
            and self.repository_id in ("", record.repository)
            and self.status in ("", record.status)
        )


@dataclass(frozen=True, slots=True)
class BackupFilter(_Filter):
    """Which Backups are wanted."""

    backup_type: str = ""

    def __post_init__(self) -> None:
        """Raise RestError (400) for a word that no backup can have."""
        _Filter.__post_init__(self)
        _check_word("backup_type", self.backup_type, TYPES)

    def select(self, records: Iterable[CachedBackup]) -> list[CachedBackup]:
        """Return those that fit, in the order they come."""
        return [one for one in records if self._fits(one) and self.backup_type in ("", one.type)]


@dataclass(frozen=True, slots=True)
class RestoreFilter(_Filter):
    """Which Restores are wanted."""

    backup_id: str = ""

    def select(self, records: Iterable[CachedRestore]) -> list[CachedRestore]:
        """Return those that fit, in the order they come."""
        return [one for one in records if self._fits(one) and self.backup_id in ("", one.backup)]


def _check_word(name: str, value: str, allowed: Sequence[str]) -> None:
    if value and value not in allowed:
        raise RestError(400, f"{name} must be one of: {', '.join(allowed)}")


def window(items: Sequence[T], limit: int | None, offset: int) -> Sequence[T]:
    """At most `limit` of them (None: all) after the first `offset`."""
    return items[offset : None if limit is None else offset + limit]
