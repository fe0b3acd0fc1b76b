"""Decision which layers of removed restore points may be freed: those that no remaining file depends on.

Two statements of dependency count: the parent in a manifest, and the backing name in an image's header. A layer on
which an orphan may depend is kept, and so is one that a pod is reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from sendense_operator.chain.disk_file import DiskFile
from sendense_operator.chain.manifest import Manifest


@dataclass(frozen=True)
class Fate:
    """What happens to one tombstone."""

    free: tuple[str, ...]
    """Its layers to free, each with its digest list."""
    kept: tuple[str, ...]
    """Its layers that something else depends on."""
    needed_by: str = ""
    """Name of the Backup of the oldest restore point that depends on a kept layer; empty if no restore point does."""

    pinned_by: str = ""
    """UID of a pod that is reading a kept layer, which nothing else depends on; empty if there is none."""

    is_retained: bool = False
    """Whether a kept layer belongs to an immutable restore point, or one that is immutable depends on it."""

    @property
    def is_done(self) -> bool:
        """Whether no layer of the tombstone is left once those in `free` are removed."""
        return not self.kept


@dataclass(frozen=True)
class FreePlan:
    """What happens to all tombstones of a chain."""

    order: tuple[str, ...] = ()
    """Paths of the layers to free, below the repository's root, each before the layers that it depends on."""
    fates: tuple[Fate, ...] = ()
    """One per tombstone, in their order."""


@dataclass(frozen=True)
class Pins:
    """What pods are reading now."""

    layers: Mapping[str, str] = field(default_factory=dict)
    """UID of a reading pod by the path of a layer."""
    unknown: str = ""
    """UID of a pod whose layers are not known, so that every layer is kept; empty if there is none."""
    readers: frozenset[str] = frozenset()
    """UIDs of all reading pods."""


NO_PINS: Final = Pins()


def plan_freeing(
    folder: PurePosixPath,
    points: Sequence[Manifest],
    tombstones: Sequence[Manifest],
    images: Mapping[str, DiskFile],
    pins: Pins = NO_PINS,
    retained: Iterable[str] = (),
) -> FreePlan:
    """Return what to free in a chain whose manifests could all be read.

    `folder`: the chain's folder; files elsewhere are never touched. `points`: restore points, oldest first.
    `images`: all files in the chain's disk folders by path, partials and orphans included. `pins`: a pinned layer is
    kept with all layers below it. `retained`: layers of immutable restore points, which are kept in the same way.
    """
    live = {disk.file for point in points for disk in point.disks}
    owned = [tuple(_own_layers(folder, tombstone)) for tombstone in tombstones]
    removed = {layer for layers in owned for layer in layers} - live
    links = dependencies((*points, *tombstones), images, removed)
    holders = _holders(points, images, removed, links)
    readers: dict[str, str] = {}
    for layer, reader in (*pins.layers.items(), *((layer, pins.unknown) for layer in removed if pins.unknown)):
        add_holder(layer, reader, links, readers)
    immutable: dict[str, str] = {}
    for layer in retained:
        add_holder(layer, "", links, immutable)
    fates = tuple(_fate(layers, live | immutable.keys(), holders, readers, immutable) for layers in owned)
    free = removed - holders.keys() - readers.keys() - immutable.keys()
    return FreePlan(tuple(_children_first(free, links)), fates)


def _own_layers(folder: PurePosixPath, manifest: Manifest) -> Iterator[str]:
    return (disk.file for disk in manifest.disks if PurePosixPath(disk.file).is_relative_to(folder))


def dependencies(
    manifests: Iterable[Manifest], images: Mapping[str, DiskFile], removed: Iterable[str]
) -> dict[str, frozenset[str]]:
    """Return the files that each file depends on, according to manifests and headers.

    `removed`: layers of removed restore points, to which an unusual backing name may refer.
    """
    links: dict[str, frozenset[str]] = {}
    for manifest in manifests:
        for disk in manifest.disks:
            if disk.parent is not None:
                links[disk.file] = links.get(disk.file, frozenset()) | {disk.parent.file}
    for path, image in images.items():
        links[path] = links.get(path, frozenset()) | _by_header(PurePosixPath(path), image, removed)
    return links


def _by_header(path: PurePosixPath, image: DiskFile, removed: Iterable[str]) -> frozenset[str]:
    if image.backing is None:
        return frozenset()
    if "/" not in image.backing and ":" not in image.backing:
        return frozenset({str(path.with_name(image.backing))}) if image.backing not in {"", ".", ".."} else frozenset()
    # The operator writes no such backing name, so it is not known what it refers to: keep all that it may mean.
    return frozenset(layer for layer in removed if PurePosixPath(layer).name in image.backing)


def _holders(
    points: Sequence[Manifest],
    images: Mapping[str, DiskFile],
    removed: set[str],
    links: Mapping[str, frozenset[str]],
) -> dict[str, str]:
    """Return the needed files, each with the Backup of the restore point that needs it; empty if an orphan does."""
    holders: dict[str, str] = {}
    for point in points:
        for disk in point.disks:
            add_holder(disk.file, point.backup.name, links, holders)
    for path in images:
        if path not in removed:
            add_holder(path, "", links, holders)
    known = removed | {disk.file for point in points for disk in point.disks}
    # An image whose backing name can't be read may depend on any layer in its folder.
    opaque = {PurePosixPath(path).parent for path, image in images.items() if image.is_opaque and path not in known}
    for layer in removed:
        if PurePosixPath(layer).parent in opaque:
            add_holder(layer, "", links, holders)
    return holders


def add_holder(start: str, name: str, links: Mapping[str, frozenset[str]], holders: dict[str, str]) -> None:
    """Add `start` and all files below it to `holders`, with `name` for those that are not in it yet."""
    pending = [start]
    while pending:
        path = pending.pop()
        if path not in holders:
            holders[path] = name
            pending.extend(links.get(path, ()))


def _fate(
    layers: Sequence[str],
    live: set[str],
    holders: Mapping[str, str],
    readers: Mapping[str, str],
    immutable: Mapping[str, str],
) -> Fate:
    needed = {layer for layer in layers if layer in live or layer in holders}
    kept = tuple(layer for layer in layers if layer in needed or layer in readers)
    names = (holders[layer] for layer in kept if holders.get(layer))
    pinned = (readers[layer] for layer in kept if layer not in needed)
    free = tuple(layer for layer in layers if layer not in kept)
    return Fate(free, kept, next(names, ""), next(pinned, ""), any(layer in immutable for layer in kept))


def _children_first(layers: set[str], links: Mapping[str, frozenset[str]]) -> list[str]:
    """Return `layers` in an order in which each comes before the layers that it depends on.

    A cycle, which only damage can produce, is returned in any order.
    """
    visited: set[str] = set()
    parents_first: list[str] = []
    for layer in sorted(layers):
        pending = [(layer, False)]
        while pending:
            path, parents_done = pending.pop()
            if parents_done:
                parents_first.append(path)
            elif path in layers and path not in visited:
                visited.add(path)
                pending.append((path, True))
                pending.extend((parent, False) for parent in sorted(links.get(path, ())))
    return parents_first[::-1]
