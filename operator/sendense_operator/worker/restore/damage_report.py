"""What a restore does about a damaged restore point: it marks the damage, and looks for a restore point without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from sendense_operator.chain.parent_blocks import MOST_CHUNKS
from sendense_operator.chain.parent_choice import BrokenStackError, stack_of
from sendense_operator.logs import get_logger
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images.damage_marks import DamageMarks
from sendense_operator.worker.images.damage_propagation import find_damaged
from sendense_operator.worker.images.layer_structure import StructureChecks
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.point_stacks import Stack
from sendense_operator.worker.images.unproven import Unproven
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.chain_folder import ChainFolder, StoredPoint, read_chain
from sendense_operator.worker.storage.repository_marker import open_repository

log = get_logger(__name__)

_MOST_WAIT: Final = 30.0
"""Seconds to wait for the chain's lock: a user waits for the restore, and the mark is only a help for others."""


class DamageReport:
    """Damage that a restore has found in its restore point, and in those that share its layers."""

    def __init__(
        self,
        settings: Settings,
        root: Path,
        repository_id: str,
        chain: ChainFolder,
        structure: StructureChecks,
        choice: ModeChoice,
        runtime: Path,
        say: Callable[[str], None],
    ) -> None:
        self._settings, self._root, self._repository_id, self._chain = settings, root, repository_id, chain
        self._structure, self._choice, self._runtime, self._say = structure, choice, runtime, say
        self._marks = DamageMarks(root, chain.paths, settings.pod_uid)
        self._damaged = set[str]()

    async def record(self, point: StoredPoint, stack: Stack, found: Unproven) -> None:
        """Mark a damaged disk of the restore point, and all other restore points that share its damage.

        Raises WorkerError if the volume is not the repository any more: then missing files say nothing.
        """
        open_repository(self._root, self._repository_id)
        self._condemn(point, stack, found)
        wanted = Unproven(str(found), layer=found.layer, chunks=found.chunks[:MOST_CHUNKS])
        try:
            self._chain = read_chain(self._root, self._chain.paths)  # a backup may have added restore points meanwhile
            async for other, disk, damage in find_damaged(
                self._root,
                self._chain,
                stack,
                wanted,
                self._choice,
                self._runtime,
                self._say,
                structure=self._structure,
            ):
                if disk.file != stack[0].file:
                    self._condemn(other, (disk,), damage)
        except (OSError, WorkerError) as error:
            log.warning("could not check other restore points for the same damage", error=error)

    async def write(self) -> None:
        """Write the marks if the chain's lock can be had soon. Errors are logged."""
        wait = min(_MOST_WAIT, self._settings.mark_wait)
        if not await self._marks.write(wait=0) and not await self._marks.write(wait):
            log.warning("the damage is not marked: the chain's lock stayed held")

    def error(self, point: StoredPoint, stack: Stack, found: Unproven, indexes: Iterable[int]) -> WorkerError:
        """Return the error that ends the restore; `indexes`: the disks to restore."""
        disk, name = stack[0].index, point.manifest.backup.name
        layer = f" (layer {found.layer})" if found.layer else ""
        text = f"restore point {name}, disk {disk}: {found}{layer}"
        better = self._newest_sound(tuple(indexes))
        hint = (
            f"The newest restore point without known damage is {better}"
            if better
            else "No restore point of this chain is without known damage"
        )
        return WorkerError(Reason.RESTORE_POINT_DAMAGED, f"{text}. {hint}", disk)

    def _condemn(self, point: StoredPoint, stack: Stack, found: Unproven) -> None:
        self._damaged.add(point.manifest.backup.uid)
        self._marks.add(point, stack[0], found)

    def _newest_sound(self, indexes: tuple[int, ...]) -> str:
        """Return the newest restore point that has the disks, complete layers and no known damage; empty: none."""
        known = [*self._chain.points, *self._chain.tombstones]
        for point in reversed(self._chain.points):
            manifest = point.manifest
            if manifest.backup.uid in self._damaged or any(mark.is_damage for mark in point.unfit):
                continue
            disks = [disk for disk in manifest.disks if disk.index in indexes]
            try:
                for disk in disks:
                    stack_of(disk, known, self._chain.paths)
            except BrokenStackError:
                continue
            if len(disks) == len(indexes):
                return manifest.backup.name
        return ""
