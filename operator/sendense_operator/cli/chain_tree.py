"""A chain as a tree: the restore points of each full, their layers, and what was removed but is still needed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sendense_operator.cli.local_times import parse
from sendense_operator.views.backup_view import disks_of, number, objects, part, text

Obj = Mapping[str, Any]
_EVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LayerLine:
    """One disk's layer."""

    disk: int
    type: str
    stored_bytes: int
    file: str
    parent: str


@dataclass(frozen=True, slots=True)
class PointLine:
    """One restore point, or one that was removed and whose layers are still there."""

    backup: str
    time: datetime | None
    type: str
    depth: int
    stored_bytes: int
    kept: str
    """Which rules keep it, or why it stays."""
    problem: str
    """Its state, unless it can be used."""
    removed: bool
    layers: tuple[LayerLine, ...]


@dataclass(slots=True)
class FullGroup:
    """A full and what depends on it."""

    full: str
    points: list[PointLine] = field(default_factory=list)
    """The full, then those that were removed, then the others, oldest first."""

    @property
    def stored_bytes(self) -> int:
        """Return the bytes of all layers."""
        return sum(point.stored_bytes for point in self.points)


def group_points(chain: Obj, backups: Iterable[Obj]) -> list[FullGroup]:
    """Return the chain's points by the full that they depend on, oldest first.

    backups: those of the chain, which know the layers; points of others are shown without.
    """
    status = part(chain, "status")
    layers = {text(part(one, "metadata").get("name")): _layers(one) for one in backups}
    groups: dict[str, FullGroup] = {}
    for full, point in [*_removed(status), *_present(status, layers)]:
        groups.setdefault(full, FullGroup(full)).points.append(point)
    for group in groups.values():
        # sorting keeps the order of equals: removed points have no time of their own, so they follow the full
        group.points.sort(key=lambda point, full=group.full: point.backup != full)  # type: ignore[misc]
    return sorted(groups.values(), key=_begin)


def _begin(group: FullGroup) -> datetime:
    """Return the time of the first restore point that is there; groups of which all is removed come first."""
    return next((point.time for point in group.points if not point.removed and point.time), _EVER)


def _present(status: Obj, layers: Mapping[str, tuple[LayerLine, ...]]) -> Iterable[tuple[str, PointLine]]:
    for point in objects(status.get("restorePoints")):
        name, state = text(point.get("backup")), text(point.get("state"))
        yield (
            text(point.get("full")) or name,
            PointLine(
                backup=name,
                time=parse(point.get("time")),
                type=text(point.get("type")),
                depth=number(point.get("depth")),
                stored_bytes=number(point.get("storedBytes")),
                kept=_kept(point),
                problem="" if state in ("", "Available") else state,
                removed=False,
                layers=layers.get(name, ()),
            ),
        )


def _kept(point: Obj) -> str:
    rules = point.get("keptBy")
    if isinstance(rules, list) and rules:
        return "kept by " + ", ".join(str(rule) for rule in rules)
    if point.get("expiredSince"):
        held = text(point.get("heldBy"))
        return f"expired, held by {held}" if held else "expired, is being deleted"
    return ""


def _removed(status: Obj) -> Iterable[tuple[str, PointLine]]:
    for one in objects(status.get("removed")):
        name, state, needed = text(one.get("backup")), text(one.get("state")), text(one.get("neededBy"))
        until = text(one.get("keptUntil"))
        why = f"needed by {needed}" if needed else f"kept until {until}" if until else state.lower()
        size = number(one.get("storedBytes"))
        full = text(one.get("full")) or name
        yield full, PointLine(name, parse(one.get("since")), "", 0, size, why, "", removed=True, layers=())


def _layers(backup: Obj) -> tuple[LayerLine, ...]:
    return tuple(
        LayerLine(
            number(disk.get("id")), text(disk.get("type")), number(disk.get("storedBytes")),
            text(disk.get("file")).rpartition("/")[2], text(disk.get("parent")),
        )
        for disk in disks_of(part(backup, "status"))
    )  # fmt: skip
