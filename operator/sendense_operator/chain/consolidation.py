"""Consolidation of a chain: which layers become one, what it gains, and what must be left alone. No I/O.

A layer of a removed restore point on which exactly one other layer depends is not needed apart from that one. Layers of
this kind that lie directly below the layer of a restore point are a run: they can be merged into that layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import Final, Generic, TypeVar

from sendense_operator.chain.damage import Judge
from sendense_operator.chain.disk_file import DiskFile
from sendense_operator.chain.extents import LayerMap
from sendense_operator.chain.freeable_layers import Pins, dependencies
from sendense_operator.chain.immutability import STRICT, ImmutabilityRule
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.chain.merging import estimate_merge
from sendense_operator.chain.orphans import unknown_files
from sendense_operator.chain.parent_choice import BrokenStackError, Point, layers_of, stack_among
from sendense_operator.consolidation_task import ConsolidationObstacle
from sendense_operator.task import BackupType

LEAST_GAIN: Final = 0.25
"""Least share of a full's stored bytes that the layers which are merged into it occupy: below it, copying the full
costs more than it frees, and is done for the depth of the chain only."""

_P = TypeVar("_P", bound=Point)


@dataclass(frozen=True)
class MergeRun(Generic[_P]):
    """Layers of one disk that can become one layer."""

    point: _P
    """The restore point whose layer takes in those below it."""
    stack: tuple[ManifestDisk, ...]
    """Its layer and all layers below it, the full last."""
    removed: int
    """Number of layers directly below the first one that become part of it."""

    @property
    def disk(self) -> ManifestDisk:
        """The restore point's disk, whose layer is replaced."""
        return self.stack[0]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Paths of the layers that become one, the uppermost first."""
        return tuple(layer.file for layer in self.stack[: self.removed + 1])

    @property
    def becomes_full(self) -> bool:
        """Whether the run includes the full, so that the new layer is one."""
        return self.removed == len(self.stack) - 1

    @property
    def most_bytes(self) -> int:
        """Bytes that the new layer occupies at most: the inputs may not overlap."""
        return estimate_merge(self.stack, self.removed)

    @property
    def is_worth_it(self) -> bool:
        """Whether it frees enough for what has to be written, as far as that is known without reading."""
        if not self.becomes_full:
            return True
        above = sum(layer.stored_bytes for layer in self.stack[: self.removed])
        return above >= LEAST_GAIN * self.stack[-1].stored_bytes

    def merged(self, layer: LayerMap, stored_bytes: int) -> ManifestDisk:
        """Return the disk's entry in the manifest with the new layer; `stored_bytes`: what that occupies.

        What the restore point is stays: its content, digests and change ID, and what was received for it.
        """
        below = self.stack[self.removed]
        return self.disk.model_copy(
            update={
                "type": BackupType.FULL if below.parent is None else BackupType.INCREMENTAL,
                "parent": below.parent,
                "depth": len(self.stack) - self.removed,
                "stored_bytes": stored_bytes,
                "guest_bytes": layer.guest_bytes,
                "coverage": layer.coverage,
                "merged": self.disk.merged + sum(1 + input.merged for input in self.stack[1 : self.removed + 1]),
            }
        )


@dataclass(frozen=True)
class ChainState(Generic[_P]):
    """A chain as it was read."""

    paths: ChainPaths
    points: Sequence[_P]
    """Restore points, oldest first."""
    tombstones: Sequence[_P]
    """Removed ones whose layers are not all freed."""
    files: Mapping[str, DiskFile]
    """All files in its disk folders, by path."""
    is_understood: bool = True
    """Whether every manifest could be read."""

    @cached_property
    def stacks(self) -> Sequence[tuple[_P, ManifestDisk, tuple[ManifestDisk, ...]]]:
        """Each disk of each restore point with its stack, the full last; the disk alone where layers are missing."""
        layers = layers_of((*self.points, *self.tombstones))

        def stack(disk: ManifestDisk) -> tuple[ManifestDisk, ...]:
            try:
                return stack_among(disk, layers, self.paths)
            except BrokenStackError:
                return (disk,)  # its restore point is damaged, which is an obstacle for the whole chain

        return [(point, disk, stack(disk)) for point in self.points for disk in point.manifest.disks]

    @cached_property
    def depths(self) -> Mapping[str, int]:
        """Number of layers of the deepest stack that each layer is part of, by its path."""
        found = dict[str, int]()
        for _, _, stack in self.stacks:
            for layer in stack:
                found[layer.file] = max(found.get(layer.file, 0), len(stack))
        return found


@dataclass(frozen=True)
class Limits:
    """What a consolidation may do."""

    target_depth: int
    """Layers of a disk above which layers are merged although that frees little."""
    everything: bool = False
    """Whether layers are merged however little that frees."""
    rule: ImmutabilityRule = STRICT
    """What decides whether a restore point is immutable."""
    own_pod: str = ""
    """UID of the pod that consolidates, whose pins are no obstacle."""


@dataclass(frozen=True)
class ConsolidationPlan(Generic[_P]):
    """What to merge, and what stands in the way of more."""

    runs: tuple[MergeRun[_P], ...] = ()
    """Runs to merge, those first that write least. They don't overlap, but each changes the manifests of others."""
    left: ConsolidationObstacle | None = None
    """Why runs that should be merged are left alone; None if there are none."""
    message: str = ""
    """Explanation of `left`."""


def plan_consolidation(chain: ChainState[_P], pins: Pins, limits: Limits) -> ConsolidationPlan[_P]:
    """Return what to merge in a chain in which nothing is left that can be freed as it is."""
    if not chain.is_understood:
        text = "not all manifests of the chain can be read, so it is not known what needs which layer"
        return ConsolidationPlan(left=ConsolidationObstacle.MANIFESTS_UNREADABLE, message=text)
    wanted = [run for each in find_runs(chain) if (run := _wanted(each, chain.depths, limits)) is not None]
    if not wanted:
        return ConsolidationPlan()
    found = _chain_obstacle(chain, pins, limits.own_pod)
    if found is not None:
        return ConsolidationPlan(left=found[0], message=found[1])
    protected = _protected(chain, limits.rule)
    allowed = [run for run in wanted if not any(file in protected for file in run.inputs)]
    allowed.sort(key=lambda run: run.most_bytes)
    if len(allowed) == len(wanted):
        return ConsolidationPlan(tuple(allowed))
    kept = next(run for run in wanted if run not in allowed)
    owner = next(protected[file] for file in kept.inputs if file in protected)
    text = f"restore point {owner} is immutable, and depends on {kept.disk.file}"
    return ConsolidationPlan(tuple(allowed), ConsolidationObstacle.RETAINED, text)


def _wanted(run: MergeRun[_P], depths: Mapping[str, int], limits: Limits) -> MergeRun[_P] | None:
    """Return what of a run to merge. For the depth alone, the full is copied only if merging increments isn't enough.

    Otherwise a chain at its target depth, of which each new restore point replaces the oldest, would copy it each time.
    """
    if limits.everything or run.is_worth_it:
        return run
    excess = depths[run.disk.file] - limits.target_depth
    if excess <= 0:
        return None
    return replace(run, removed=run.removed - 1) if excess < run.removed else run


def find_runs(chain: ChainState[_P]) -> Iterator[MergeRun[_P]]:
    """Yield the longest run of each disk of each restore point that has one; none where layers are missing."""
    live = {disk.file for point in chain.points for disk in point.manifest.disks}
    gone = {disk.file for point in chain.tombstones for disk in point.manifest.disks} - live
    manifests = [point.manifest for point in (*chain.points, *chain.tombstones)]
    links = dependencies(manifests, chain.files, gone)
    children = Counter(parent for parents in links.values() for parent in parents)
    for point, _, stack in chain.stacks:
        removed = 0
        for layer in stack[1:]:
            if layer.file not in gone or children[layer.file] != 1:
                break
            removed += 1
        if removed:
            yield MergeRun(point, stack, removed)


def _chain_obstacle(chain: ChainState[_P], pins: Pins, own_pod: str) -> tuple[ConsolidationObstacle, str] | None:
    """Return what forbids every merge of the chain."""
    manifests = [point.manifest for point in (*chain.points, *chain.tombstones)]
    # File servers keep files that were removed while they were open under names that begin with a dot.
    unknown = [path for path in unknown_files(manifests, chain.files) if not PurePosixPath(path).name.startswith(".")]
    if unknown:
        text = f"no manifest names {unknown[0]}, and what it depends on may not change: a scan puts it in quarantine"
        return ConsolidationObstacle.ORPHANS, text
    tombstones = (point.manifest for point in chain.tombstones)
    judge = Judge([(point.manifest, point.unfit) for point in chain.points], tombstones, chain.files)
    for point in chain.points:
        if damage := judge.judge(point.manifest).damage:
            return ConsolidationObstacle.DAMAGED, f"restore point {point.manifest.backup.name} is damaged: {damage}"
    reader = next((pod for pod in sorted(pins.readers) if pod != own_pod), "")
    if reader:
        text = f"the pod with UID {reader} is reading layers of the chain"
        return ConsolidationObstacle.LAYER_PINNED, text
    return None


def _protected(chain: ChainState[_P], rule: ImmutabilityRule) -> dict[str, str]:
    """Return the layers that immutable restore points are read through, each with the Backup of one of those."""
    found = dict[str, str]()
    for point in (*chain.points, *chain.tombstones):
        if rule.retains(point.manifest):
            found.update((disk.file, point.manifest.backup.name) for disk in point.manifest.disks)
    for _, _, stack in chain.stacks:
        above = ""
        for layer in stack:
            above = found.get(layer.file) or above
            if above:
                found[layer.file] = above
    return found


def with_depths(chain: ChainState[_P]) -> Iterator[tuple[_P, tuple[ManifestDisk, ...]]]:
    """Yield the restore points whose manifest has a wrong depth of a disk, with their disks as they should be."""
    right = dict[tuple[str, ...], list[ManifestDisk]]()
    for point, disk, stack in chain.stacks:
        is_known = stack[-1].parent is None
        new = disk.model_copy(update={"depth": len(stack)}) if is_known and disk.depth != len(stack) else disk
        right.setdefault(point.manifest.files(), []).append(new)
    for point in chain.points:
        disks = tuple(right[point.manifest.files()])
        if disks != point.manifest.disks:
            yield point, disks


def replace_disk(disks: Sequence[ManifestDisk], new: ManifestDisk) -> tuple[ManifestDisk, ...]:
    """Return `disks` with the one of the same index replaced by `new`."""
    return tuple(new if disk.index == new.index else disk for disk in disks)


def without(plan: ConsolidationPlan[_P], files: frozenset[str]) -> ConsolidationPlan[_P]:
    """Return a plan without the runs that would replace one of `files`, whose merge failed."""
    return replace(plan, runs=tuple(run for run in plan.runs if run.disk.file not in files))
