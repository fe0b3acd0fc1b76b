"""Which disks of a backup may be increments, what they depend on, and where their layers go. Pure.

An increment holds the changes since a change id, and only the restore point that was made with that very id shows
what lies below. So parent and change id come from one manifest, and whatever is in doubt makes a full.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final, Protocol, TypeVar

from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Manifest, ManifestDisk, Parent
from sendense_operator.chain.parent_blocks import Unfit
from sendense_operator.task import BackupType, FullReason, TaskDisk

_CHANGE_ID: Final = re.compile(r"^[^/]+/[^/]+$")
"""What the VMA's client takes for one; anything else makes it copy the whole disk."""


class Point(Protocol):
    """A restore point, or a removed one whose layers are still needed."""

    @property
    def manifest(self) -> Manifest:
        """What it says of itself."""

    @property
    def unfit(self) -> tuple[Unfit, ...]:
        """What speaks against it."""


_P = TypeVar("_P", bound=Point)


@dataclass(frozen=True)
class ParentLayer:
    """What an increment is to depend on."""

    manifest: Manifest
    disk: ManifestDisk
    stack: tuple[ManifestDisk, ...]
    """All layers that are read through it, itself first, the full last."""

    def describe(self) -> Parent:
        """As the manifest of the increment tells it."""
        backup = self.manifest.backup
        return Parent(backup=backup.name, backup_uid=backup.uid, file=self.disk.file, change_id=self.disk.change_id)


@dataclass(frozen=True)
class LayerPlan:
    """What is to be made of one disk."""

    disk: TaskDisk
    folder: PurePosixPath
    """Of its layer, below the repository's root."""
    parent: ParentLayer | None = None
    """None: a full."""
    reason: FullReason | None = None
    """Why a full, where an increment was wanted."""
    message: str = ""

    @property
    def type(self) -> BackupType:
        """What its layer is begun as."""
        return BackupType.INCREMENTAL if self.parent else BackupType.FULL

    @property
    def layers(self) -> int:
        """How many layers are read through it, itself counted."""
        return len(self.parent.stack) + 1 if self.parent else 1

    @property
    def backing(self) -> str | None:
        """Backing name of its layer: the parent's file, which lies in the same folder."""
        return PurePosixPath(self.parent.disk.file).name if self.parent else None


@dataclass(frozen=True)
class Choice:
    """The answer for one disk: a parent, or why there is none."""

    parent: ParentLayer | None = None
    reason: FullReason | None = None
    message: str = ""
    doubt: str = ""
    """Damage that was noted of the parent or below it: only a proof of its content may let it be used."""


def choose_parent(
    disk: TaskDisk, points: Sequence[Point], tombstones: Sequence[Point], paths: ChainPaths, max_depth: int
) -> Choice:
    """Choose one disk's parent. `points`: live ones, oldest first; `max_depth`: layers including its own.

    The parent is the newest live restore point, whatever else might do: that is what a user expects, and what the
    chain's status says.
    """
    if not points:
        return Choice(None, FullReason.NO_PARENT, "the repository holds no restore point of this VM")
    newest = points[-1]
    name = newest.manifest.backup.name
    found = next((layer for layer in newest.manifest.disks if layer.key == disk.key), None)
    if found is None:
        return Choice(None, FullReason.NEW_DISK, f"restore point {name} has no disk with key {disk.key}")
    if found.virtual_size != disk.virtual_size:
        sizes = f"{found.virtual_size} bytes in restore point {name}, now {disk.virtual_size}"
        return Choice(None, FullReason.DISK_RESIZED, f"disk {disk.index} had {sizes}")
    try:
        stack = _stack(found, [*points, *tombstones], paths)
    except _BrokenError as error:
        return Choice(None, FullReason.PARENT_UNVERIFIED, f"restore point {name}, disk {found.index}: {error}")
    refusal = next((mark for mark in newest.unfit if mark.index == found.index and not mark.is_damage), None)
    if refusal is not None:
        return Choice(None, refusal.reason, f"restore point {name}, disk {found.index}: {refusal.message}")
    if not _CHANGE_ID.fullmatch(found.change_id):
        text = f"restore point {name} holds no change id of disk {found.index}: change tracking was off then"
        return Choice(None, FullReason.CHANGE_ID_REFUSED, text)
    if len(stack) + 1 > max_depth:
        text = f"restore point {name} has {len(stack)} layers of disk {found.index}, at most {max_depth} are allowed"
        return Choice(None, FullReason.CHAIN_TOO_LONG, text)
    damage = next((mark for _, _, mark in damage_below(stack, points)), None)
    doubt = f"restore point {name}, disk {found.index}: {damage.message or damage.reason}" if damage else ""
    return Choice(ParentLayer(newest.manifest, found, stack), doubt=doubt)


class _BrokenError(Exception):
    """The layers of a disk can't be followed."""


def _stack(top: ManifestDisk, known: Iterable[Point], paths: ChainPaths) -> tuple[ManifestDisk, ...]:
    owners: Mapping[str, ManifestDisk] = {layer.file: layer for point in known for layer in point.manifest.disks}
    stack = [top]
    while (parent := stack[-1].parent) is not None:
        below = owners.get(parent.file)
        if below is None:
            raise _BrokenError(f"no restore point knows its layer {parent.file}")
        if below in stack:
            raise _BrokenError(f"its layer {parent.file} is its own parent")
        if below.virtual_size != top.virtual_size:
            raise _BrokenError(f"its layer {parent.file} has {below.virtual_size} bytes, not {top.virtual_size}")
        stack.append(below)
    folders = {PurePosixPath(layer.file).parent for layer in stack}
    if len(folders) != 1 or folders.pop().parent != paths.folder:
        raise _BrokenError(f"its layers do not lie together in {paths.folder}")
    return tuple(stack)


def read_through(layer: str, points: Iterable[_P], others: Iterable[Point]) -> Iterator[tuple[_P, ManifestDisk]]:
    """Yield disks of `points` that depend on `layer` or are it. `others`: tombstones in between."""
    points = tuple(points)
    manifests = [point.manifest for point in points] + [point.manifest for point in others]
    below = {disk.file: disk.parent.file for manifest in manifests for disk in manifest.disks if disk.parent}
    for point in points:
        for disk in point.manifest.disks:
            seen = set[str]()
            at: str | None = disk.file
            while at is not None and at != layer and at not in seen:
                seen.add(at)
                at = below.get(at)
            if at == layer:
                yield point, disk


def damage_below(stack: Sequence[ManifestDisk], points: Iterable[_P]) -> Iterator[tuple[_P, ManifestDisk, Unfit]]:
    """Damage that is noted of disks whose layers are in `stack`, the newest point's first."""
    files = {layer.file for layer in stack}
    for point in reversed(tuple(points)):
        for disk in point.manifest.disks:
            if disk.file in files:
                yield from ((point, disk, mark) for mark in point.unfit if mark.is_damage and mark.index == disk.index)


def plan_layers(disks: Sequence[TaskDisk], choices: Sequence[Choice], paths: ChainPaths) -> tuple[LayerPlan, ...]:
    """Return what is made of each disk, and where. No two layers of one backup share a folder.

    An increment lies beside its parent, whose folder may have the index of another disk by now; a full in the folder
    of its disk's index, or else in the first one that no disk of this backup uses.
    """
    used = {PurePosixPath(choice.parent.disk.file).parent for choice in choices if choice.parent}
    plans = list[LayerPlan]()
    homeless = list[int]()
    for position, (disk, choice) in enumerate(zip(disks, choices, strict=True)):
        folder = paths.disk(disk.index)
        if choice.parent is not None:
            folder = PurePosixPath(choice.parent.disk.file).parent
        elif folder in used:
            homeless.append(position)
        else:
            used.add(folder)
        plans.append(LayerPlan(disk, folder, choice.parent, choice.reason, choice.message))
    for position in homeless:
        folder = next(folder for folder in map(paths.disk, range(1000)) if folder not in used)
        used.add(folder)
        plans[position] = replace(plans[position], folder=folder)
    return tuple(plans)
