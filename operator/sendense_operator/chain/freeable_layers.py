"""Which files of removed restore points may go now: those that nothing which remains depends on.

Both words count: what a manifest says its layer depends on, and the backing name in the image itself. Whatever could
be needed by a file that nobody can explain stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from sendense_operator.chain.disk_file import DiskFile
from sendense_operator.chain.manifest import Manifest


@dataclass(frozen=True)
class Fate:
    """What becomes of one tombstone."""

    free: tuple[str, ...]
    """Its layers that may go; each with its list of digests."""
    kept: tuple[str, ...]
    """Its layers that something else depends on."""
    needed_by: str = ""
    """Name of the Backup whose restore point, the oldest one, depends on a kept layer; empty: no restore point does."""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left of it once the free layers are gone."""
        return not self.kept


@dataclass(frozen=True)
class FreePlan:
    """Verdict on all tombstones of a chain."""

    order: tuple[str, ...] = ()
    """Layers to remove, paths below the repository's root: each before what it depends on."""
    fates: tuple[Fate, ...] = ()
    """As many as tombstones, in their order."""


def plan_freeing(
    folder: PurePosixPath, points: Sequence[Manifest], tombstones: Sequence[Manifest], images: Mapping[str, DiskFile]
) -> FreePlan:
    """Decide for a chain of which every manifest could be read.

    `folder`: the chain's own, files elsewhere are never touched. `points`: restore points, oldest first.
    `images`: all files in the chain's disk folders by path, uncommitted ones and orphans included.
    """
    live = {disk.file for point in points for disk in point.disks}
    owned = [tuple(_own_layers(folder, tombstone)) for tombstone in tombstones]
    removed = {layer for layers in owned for layer in layers} - live
    links = stands_on((*points, *tombstones), images, removed)
    holders = _holders(points, images, removed, links)
    fates = tuple(_fate(layers, live, holders) for layers in owned)
    return FreePlan(tuple(_children_first(removed - holders.keys(), links)), fates)


def _own_layers(folder: PurePosixPath, manifest: Manifest) -> Iterator[str]:
    return (disk.file for disk in manifest.disks if PurePosixPath(disk.file).is_relative_to(folder))


def stands_on(
    manifests: Iterable[Manifest], images: Mapping[str, DiskFile], removed: Iterable[str]
) -> dict[str, frozenset[str]]:
    """Return what each file depends on, by its manifest and by its header.

    `removed`: layers that a backing name which is none of ours may mean.
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
    # No layer of ours has such a name. Whatever it means, what it may mean stays.
    return frozenset(layer for layer in removed if PurePosixPath(layer).name in image.backing)


def _holders(
    points: Sequence[Manifest],
    images: Mapping[str, DiskFile],
    removed: set[str],
    links: Mapping[str, frozenset[str]],
) -> dict[str, str]:
    """Return every needed file with the name of the restore point that needs it; empty where none has a name."""
    holders: dict[str, str] = {}
    for point in points:
        for disk in point.disks:
            hold(disk.file, point.backup.name, links, holders)
    for path in images:
        if path not in removed:
            hold(path, "", links, holders)
    known = removed | {disk.file for point in points for disk in point.disks}
    blind = {PurePosixPath(path).parent for path, image in images.items() if image.is_opaque and path not in known}
    for layer in removed:
        if PurePosixPath(layer).parent in blind:
            hold(layer, "", links, holders)
    return holders


def hold(start: str, name: str, links: Mapping[str, frozenset[str]], holders: dict[str, str]) -> None:
    """Put `start` and all below it into `holders`, those that are not in it yet under `name`."""
    todo = [start]
    while todo:
        path = todo.pop()
        if path not in holders:
            holders[path] = name
            todo.extend(links.get(path, ()))


def _fate(layers: Sequence[str], live: set[str], holders: Mapping[str, str]) -> Fate:
    kept = tuple(layer for layer in layers if layer in live or layer in holders)
    names = (holders[layer] for layer in kept if holders.get(layer))
    return Fate(tuple(layer for layer in layers if layer not in kept), kept, next(names, ""))


def _children_first(layers: set[str], links: Mapping[str, frozenset[str]]) -> list[str]:
    """`layers` so that each comes before what it depends on; a circle, which only damage can make, in any order."""
    seen: set[str] = set()
    parents_first: list[str] = []
    for layer in sorted(layers):
        todo = [(layer, False)]
        while todo:
            path, is_left = todo.pop()
            if is_left:
                parents_first.append(path)
            elif path in layers and path not in seen:
                seen.add(path)
                todo.append((path, True))
                todo.extend((parent, False) for parent in sorted(links.get(path, ())))
    return parents_first[::-1]
