"""Decision which disks of a backup may be increments, on which parents, and in which folders. No I/O.

An increment holds the changes since a change ID, so only the restore point that has this change ID can lie below it.
Therefore parent and change ID come from one manifest. In case of doubt the disk becomes a full.
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
"""Form of a change ID that the VMA's client accepts; for any other text it copies the whole disk (vma-contract 3.2)."""


class Point(Protocol):
    """A restore point, or a removed one whose layers are not all freed."""

    @property
    def manifest(self) -> Manifest:
        """Its manifest."""

    @property
    def unfit(self) -> tuple[Unfit, ...]:
        """Its marks."""


_P = TypeVar("_P", bound=Point)


@dataclass(frozen=True)
class ParentLayer:
    """The parent of an increment."""

    manifest: Manifest
    disk: ManifestDisk
    stack: tuple[ManifestDisk, ...]
    """The parent's layer and all layers below it, the full last."""

    def describe(self) -> Parent:
        """Return the entry for the manifest of the increment."""
        backup = self.manifest.backup
        return Parent(backup=backup.name, backup_uid=backup.uid, file=self.disk.file, change_id=self.disk.change_id)


@dataclass(frozen=True)
class LayerPlan:
    """The planned layer of one disk."""

    disk: TaskDisk
    folder: PurePosixPath
    """Folder of the layer below the repository's root."""
    parent: ParentLayer | None = None
    """Parent of an increment; None for a full."""
    reason: FullReason | None = None
    """Why it is a full although an increment was requested."""
    message: str = ""
    """Explanation of `reason`."""

    @property
    def type(self) -> BackupType:
        """Kind of the planned layer."""
        return BackupType.INCREMENTAL if self.parent else BackupType.FULL

    @property
    def layers(self) -> int:
        """Number of layers of its stack, itself included."""
        return len(self.parent.stack) + 1 if self.parent else 1

    @property
    def backing(self) -> str | None:
        """Backing name of the layer: the file name of the parent's layer, which is in the same folder."""
        return PurePosixPath(self.parent.disk.file).name if self.parent else None


@dataclass(frozen=True)
class Choice:
    """The decision for one disk: a parent, or the reason why there is none."""

    parent: ParentLayer | None = None
    reason: FullReason | None = None
    message: str = ""
    """Explanation of `reason`."""
    doubt: str = ""
    """Message of a damage mark of the parent or of a restore point below it: its content must be proven first."""


def choose_parent(
    disk: TaskDisk, points: Sequence[Point], tombstones: Sequence[Point], paths: ChainPaths, max_depth: int
) -> Choice:
    """Choose the parent of one disk.

    `points`: restore points, oldest first. `tombstones`: removed ones, whose layers may still be needed. `max_depth`:
    most layers of the disk, the new one included. Only the newest restore point can be the parent, even if an older one
    would do: users expect that, and the chain's status says so.
    """
    if not points:
        return Choice(None, FullReason.NO_PARENT, "the repository has no restore point of this VM")
    newest = points[-1]
    name = newest.manifest.backup.name
    found = next((layer for layer in newest.manifest.disks if layer.key == disk.key), None)
    if found is None:
        return Choice(None, FullReason.NEW_DISK, f"restore point {name} has no disk with key {disk.key}")
    if found.virtual_size != disk.virtual_size:
        sizes = f"has {disk.virtual_size} bytes now, but {found.virtual_size} in restore point {name}"
        return Choice(None, FullReason.DISK_RESIZED, f"disk {disk.index} {sizes}")
    try:
        stack = stack_of(found, [*points, *tombstones], paths)
    except BrokenStackError as error:
        return Choice(None, FullReason.PARENT_UNVERIFIED, f"restore point {name}, disk {found.index}: {error}")
    refusal = next((mark for mark in newest.unfit if mark.index == found.index and not mark.is_damage), None)
    if refusal is not None:
        return Choice(None, refusal.reason, f"restore point {name}, disk {found.index}: {refusal.message}")
    if not _CHANGE_ID.fullmatch(found.change_id):
        text = f"restore point {name} has no change ID of disk {found.index}: Changed Block Tracking was off then"
        return Choice(None, FullReason.CHANGE_ID_REFUSED, text)
    if len(stack) + 1 > max_depth:
        text = f"restore point {name} has {len(stack)} layers of disk {found.index}, at most {max_depth} are allowed"
        return Choice(None, FullReason.CHAIN_TOO_LONG, text)
    damage = next((mark for _, _, mark in damage_below(stack, points)), None)
    doubt = f"restore point {name}, disk {found.index}: {damage.message or damage.reason}" if damage else ""
    return Choice(ParentLayer(newest.manifest, found, stack), doubt=doubt)


class BrokenStackError(Exception):
    """The stack of layers of a disk is incomplete or inconsistent. `layer`: path of a layer that no manifest names."""

    def __init__(self, message: str, layer: str = "") -> None:
        super().__init__(message)
        self.layer = layer


def stack_of(top: ManifestDisk, known: Iterable[Point], paths: ChainPaths) -> tuple[ManifestDisk, ...]:
    """Return a disk's layer and all layers below it, the full last. Raises BrokenStackError.

    `known`: all restore points and tombstones of the chain.
    """
    return stack_among(top, layers_of(known), paths)


def layers_of(known: Iterable[Point]) -> Mapping[str, ManifestDisk]:
    """Return the layers of restore points and tombstones by path."""
    return {layer.file: layer for point in known for layer in point.manifest.disks}


def stack_among(top: ManifestDisk, layers: Mapping[str, ManifestDisk], paths: ChainPaths) -> tuple[ManifestDisk, ...]:
    """Return the same as `stack_of`, from the layers of the chain by path. Raises BrokenStackError."""
    stack = [top]
    while (parent := stack[-1].parent) is not None:
        below = layers.get(parent.file)
        if below is None:
            raise BrokenStackError(f"no manifest names its layer {parent.file}", parent.file)
        if below in stack:
            raise BrokenStackError(f"its layer {parent.file} depends on itself")
        if below.virtual_size != top.virtual_size:
            raise BrokenStackError(
                f"its layer {parent.file} is for a disk of {below.virtual_size} bytes instead of {top.virtual_size}"
            )
        stack.append(below)
    folders = {PurePosixPath(layer.file).parent for layer in stack}
    if len(folders) != 1 or folders.pop().parent != paths.folder:
        raise BrokenStackError(f"its layers are not all in one folder of {paths.folder}")
    return tuple(stack)


def read_through(layer: str, points: Iterable[_P], others: Iterable[Point]) -> Iterator[tuple[_P, ManifestDisk]]:
    """Yield the disks of `points` whose stack contains `layer`. `others`: tombstones, which stacks may contain."""
    points = tuple(points)
    manifests = [point.manifest for point in points] + [point.manifest for point in others]
    below = {disk.file: disk.parent.file for manifest in manifests for disk in manifest.disks if disk.parent}
    for point in points:
        for disk in point.manifest.disks:
            visited = set[str]()
            at: str | None = disk.file
            while at is not None and at != layer and at not in visited:
                visited.add(at)
                at = below.get(at)
            if at == layer:
                yield point, disk


def damage_below(stack: Sequence[ManifestDisk], points: Iterable[_P]) -> Iterator[tuple[_P, ManifestDisk, Unfit]]:
    """Yield the damage marks of disks whose layers are in `stack`, those of the newest restore point first."""
    files = {layer.file for layer in stack}
    for point in reversed(tuple(points)):
        for disk in point.manifest.disks:
            if disk.file in files:
                yield from ((point, disk, mark) for mark in point.unfit if mark.is_damage and mark.index == disk.index)


def plan_layers(disks: Sequence[TaskDisk], choices: Sequence[Choice], paths: ChainPaths) -> tuple[LayerPlan, ...]:
    """Return the planned layer of each disk. Each layer of a backup is in a folder of its own.

    An increment is in its parent's folder, whose number may now be another disk's index. A full is in the folder of its
    disk's index; if that is used, in the first folder that no disk of this backup uses.
    """
    used = {PurePosixPath(choice.parent.disk.file).parent for choice in choices if choice.parent}
    plans = list[LayerPlan]()
    unplaced = list[int]()
    for position, (disk, choice) in enumerate(zip(disks, choices, strict=True)):
        folder = paths.disk(disk.index)
        if choice.parent is not None:
            folder = PurePosixPath(choice.parent.disk.file).parent
        elif folder in used:
            unplaced.append(position)
        else:
            used.add(folder)
        plans.append(LayerPlan(disk, folder, choice.parent, choice.reason, choice.message))
    for position in unplaced:
        folder = next(folder for folder in map(paths.disk, range(1000)) if folder not in used)
        used.add(folder)
        plans[position] = replace(plans[position], folder=folder)
    return tuple(plans)
