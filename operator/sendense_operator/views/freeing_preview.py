"""What becomes free when a Backup is deleted. Pure.

A layer stays as long as a restore point depends on it: reached from one of its disks by the parents that the Backups
name. Where that trail breaks off (a parent whose Backup was deleted before), the chain's order decides, and in doubt
a layer is said to stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sendense_operator.api.v1alpha1.backup import DeletionPolicy
from sendense_operator.chain.immutable_window import retained_until
from sendense_operator.views.backup_view import COMPLETED
from sendense_operator.views.cached_objects import CachedBackup, CachedChain


@dataclass(frozen=True, slots=True)
class Freed:
    """What a deletion frees."""

    bytes: int
    files: tuple[str, ...]
    needed_by: tuple[str, ...]
    """Names of the Backups that still need its layers, in order of their names."""
    message: str

    def without_names(self) -> Freed:
        """Return the same for somebody who may not know of other Backups."""
        if not self.needed_by:
            return self
        return replace(self, needed_by=(), message="its files stay until other restore points no longer need them")


def immutable_until(backup: CachedBackup, days: int, now: datetime) -> datetime | None:
    """Return until when a restore point can't be removed; None: it can be. `days`: of its repository, 0 for none."""
    committed = _time(backup.completed)
    if committed is None or backup.status != COMPLETED:
        return None
    until = retained_until(committed, _time(backup.retained_until), days or None)
    return until if until is not None and now < until else None


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def decide_freed(
    backup: CachedBackup,
    family: Iterable[CachedBackup],
    chain: CachedChain | None,
    repository_policy: str,
    until: datetime | None = None,
) -> Freed:
    """Return what deleting `backup` frees. `family`: all Backups of its VM and repository, itself included or not.

    `until`: from `immutable_until`.
    """
    if (backup.policy or repository_policy) == DeletionPolicy.RETAIN:
        return Freed(0, (), (), "its files stay in the repository: deletionPolicy is Retain")
    if until is not None:
        text = f"it is immutable until {until:%Y-%m-%dT%H:%M:%SZ}: object and files stay until then"
        return Freed(0, (), (), text)
    if backup.status != COMPLETED:
        return Freed(0, (), (), "it is no restore point: what it left unfinished is removed")
    others = {one.name: one for one in family if one.name != backup.name}
    reached = {one.name: _layers_below(one, {**others, backup.name: backup}) for one in others.values() if _counts(one)}
    needed_by = tuple(sorted(name for name, below in reached.items() if _needs(name, below, backup.name, chain)))
    if needed_by:
        return Freed(0, (), needed_by, f"its files stay until {', '.join(needed_by[:5])} no longer need them")
    below_all = set().union(*reached.values())
    waiting = [one for one in chain.removed if one.needed_by == backup.name] if chain else []
    released = [one for one in waiting if one.backup not in below_all]
    size = backup.stored_bytes + sum(one.stored_bytes for one in released)
    files = tuple(layer.file for layer in backup.layers if layer.file)
    return Freed(size, files, (), "its files are removed from the repository")


def _counts(record: CachedBackup) -> bool:
    """Restore points count, immutable ones until they are gone, and what is just being written on top of one."""
    return (not record.deleting or bool(record.retained_until)) and any(layer.parent for layer in record.layers)


def _layers_below(record: CachedBackup, known: Mapping[str, CachedBackup]) -> set[str]:
    """Return the names of the Backups whose layers `record` depends on, as far as they can be followed."""
    found: set[str] = set()
    for layer in record.layers:
        parent, seen = layer.parent, set[str]()
        while parent and parent not in seen:
            seen.add(parent)
            below = known.get(parent)
            parent = (
                next((one.parent for one in below.layers if one.disk_index == layer.disk_index), "") if below else ""
            )
        found |= seen
    return found


def _needs(name: str, below: set[str], backup: str, chain: CachedChain | None) -> bool:
    """Return whether `name` depends on `backup`, directly or through restore points that were removed before."""
    if backup in below:
        return True
    removed = {one.backup for one in chain.removed} if chain else set()
    if chain is None or not below & removed:
        return False
    order = {point: place for place, (point, _) in enumerate(chain.fulls)}
    full = dict(chain.fulls).get(name, "")
    if order.get(backup, -1) >= order.get(name, len(order)):
        return False
    return order.get(full, -1) <= order.get(backup, -1)
