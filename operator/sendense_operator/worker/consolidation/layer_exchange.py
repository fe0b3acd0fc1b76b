"""One merge: layers are pinned, merged beside the chain and proven; then the new layer takes its place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

from sendense_operator.chain import layout
from sendense_operator.chain.compaction import has_room
from sendense_operator.chain.consolidation import Limits, MergeRun, plan_consolidation
from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.consolidation_task import ConsolidationObstacle
from sendense_operator.formatting import human_count
from sendense_operator.logs import get_logger
from sendense_operator.worker.consolidation.consolidation_scope import ConsolidationScope
from sendense_operator.worker.errors import Reason, WorkerError, storage_error
from sendense_operator.worker.images import proof
from sendense_operator.worker.images.layer_merge import Merge, MergedLayer, merge_layers
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.lifecycle.stop_requests import run_to_end
from sendense_operator.worker.storage import merge_journal
from sendense_operator.worker.storage.chain_folder import ChainFolder, StoredPoint, read_chain
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.durable_io import allocated
from sendense_operator.worker.storage.immutable_bit import release_point
from sendense_operator.worker.storage.merge_journal import MergeJournal
from sendense_operator.worker.storage.merge_switch import chain_state, drop_merge, switch
from sendense_operator.worker.storage.pins import Pin, pinned
from sendense_operator.worker.storage.point_lookup import ChainChangedError, PointLookup
from sendense_operator.worker.storage.repository_marker import capacity
from sendense_operator.worker.storage.tombstones import free_layers

log = get_logger(__name__)

_Run = MergeRun[StoredPoint]
_POLL: Final = 1.0
"""Seconds between two attempts to switch to a merged layer."""
_OBSTACLES: Final[Mapping[str, ConsolidationObstacle]] = {
    Reason.REPOSITORY_FULL: ConsolidationObstacle.NO_ROOM,
    Reason.CHAIN_BUSY: ConsolidationObstacle.CHAIN_BUSY,
}


class MergeRefusedError(Exception):
    """Layers are left as they are; the message says why."""

    def __init__(self, obstacle: ConsolidationObstacle, message: str) -> None:
        super().__init__(message)
        self.obstacle = obstacle


class LayerExchange:
    """The merges of a chain, whose merge lock is held."""

    def __init__(self, scope: ConsolidationScope) -> None:
        self._scope = scope
        self._root, self._paths, self._state = scope.root, scope.paths, scope.state
        self._choice = ModeChoice()

    async def merge(self, run: _Run, limits: Limits) -> None:
        """Merge the layers of a run. Raises MergeRefusedError; then, and after any other error, they are as before.

        Raises WorkerError Fenced if another pod merges layers of the chain.
        """
        self._check_room(run)
        try:
            pin = await self._pin(run)
            with pin:
                await self._merge(run, limits, pin)
        except BaseException as error:
            await run_to_end(asyncio.to_thread(self._drop))
            if isinstance(error, OSError):
                error = storage_error(error, f"merging into {run.disk.file}")
            if not isinstance(error, WorkerError) or error.reason == Reason.FENCED:
                raise
            obstacle = _OBSTACLES.get(error.reason, ConsolidationObstacle.MERGE_FAILED)
            raise MergeRefusedError(obstacle, error.message) from error

    def _check_room(self, run: _Run) -> None:
        free = capacity(self._root).free
        if not has_room(free, self._scope.task.min_free, run.most_bytes):
            text = (
                f"merging {human_count(run.removed, 'layer')} into {run.disk.file} needs up to {run.most_bytes} bytes, "
                f"but only {free} are free, of which {self._scope.task.min_free} must stay"
            )
            raise MergeRefusedError(ConsolidationObstacle.NO_ROOM, text)

    async def _pin(self, run: _Run) -> Pin:
        lookup = PointLookup(self._root, ChainFolder(self._paths))
        layers = [layer.file for layer in run.stack]
        pin = await lookup.pin(run.point, layers, self._scope.settings.pod_uid, self._scope.settings.pin_wait)
        if pin is None:
            name = run.point.manifest.backup.name
            raise ChainChangedError(Reason.CHAIN_BUSY, f"restore point {name} was removed meanwhile")
        return pin

    async def _merge(self, run: _Run, limits: Limits, pin: Pin) -> None:
        journal = MergeJournal(
            pod_uid=self._scope.settings.pod_uid,
            backup_uid=run.point.manifest.backup.uid,
            inputs=run.inputs,
            root=run.disk.digest.root,
        )
        self._scope.step("journal the merge")
        merge_journal.write_journal(self._root, self._paths, journal)
        name = run.point.manifest.backup.name
        what = f"merging {human_count(run.removed, 'layer')} into restore point {name}, disk {run.disk.index}"
        self._state.begin(what, 2 * run.most_bytes)
        self._state.check = self._check_chunk
        log.info("merging layers", restore_point=name, disk=run.disk.index, layers=len(run.inputs))
        merged = await self._write(run)
        entry = run.merged(merged.layer, merged.stored_bytes)
        before = sum(allocated(self._root / file) for file in run.inputs)
        await self._switch(run, limits, journal, entry, pin)
        freed = before - merged.stored_bytes
        self._state.add(removed=run.removed, written=merged.written_bytes, freed=max(0, freed))
        log.info("merged layers", restore_point=name, disk=run.disk.index, layers=len(run.inputs), freed_bytes=freed)

    async def _write(self, run: _Run) -> MergedLayer:
        target = self._root / layout.partial(layout.merged_of(PurePosixPath(run.disk.file)))
        with proof.open_list(self._root, run.disk) as digests:
            self._scope.step(f"write {target.name}")
            merge = Merge(self._root, run.stack, run.removed, target)
            return await merge_layers(merge, digests, self._state, self._choice, self._scope.runtime, "merge")

    def _check_chunk(self) -> None:
        self._scope.before()
        if not has_room(capacity(self._root).free, self._scope.task.min_free, 0):
            raise WorkerError(Reason.REPOSITORY_FULL, "too little space is left beside the layers that are merged")

    async def _switch(self, run: _Run, limits: Limits, journal: MergeJournal, entry: ManifestDisk, pin: Pin) -> None:
        """Put the merged layer in its place as soon as no other pod writes or reads the chain. Raises WorkerError."""
        deadline = time.monotonic() + self._scope.settings.switch_wait
        while True:
            lock = ChainLock.try_acquire(self._root / self._paths.lock, self._root, self._scope.settings.pod_uid)
            reason = "a backup to end, which is writing the chain"
            if lock is not None:
                with lock:
                    reason = await run_to_end(
                        asyncio.to_thread(self._try_switch, run, limits, journal, entry, lock, pin)
                    )
            if not reason:
                return
            if time.monotonic() >= deadline:
                raise WorkerError(Reason.CHAIN_BUSY, f"waited in vain for {reason}")
            self._state.say(f"waiting for {reason}")
            await asyncio.sleep(_POLL)

    def _try_switch(
        self, run: _Run, limits: Limits, journal: MergeJournal, entry: ManifestDisk, lock: ChainLock, pin: Pin
    ) -> str:
        """Switch, and free what is unneeded then; return what must end first, an empty text if it was done."""

        def step(name: str) -> None:
            self._scope.step(name)
            lock.check()

        chain = read_chain(self._root, self._paths)
        with pinned(self._root, self._paths) as pins:
            plan = plan_consolidation(chain_state(self._root, chain), pins, replace(limits, everything=True))
            if plan.left is ConsolidationObstacle.LAYER_PINNED:
                return f"a reader to end: {plan.message}"
            if not any(_is_still(run, found) for found in plan.runs):
                text = plan.message or "the chain has changed"
                raise ChainChangedError(Reason.CHAIN_BUSY, f"the merge was given up meanwhile: {text}")
            release_point(self._root, run.point.place, run.point.manifest)
            switch(self._root, self._paths, journal, entry, step)
        pin.release()
        free_layers(self._root, read_chain(self._root, self._paths), step, limits.rule)
        return ""

    def _drop(self) -> None:
        """Remove what a merge has left that did not take its place. Errors are logged."""
        try:
            drop_merge(self._root, self._paths, self._scope.before)
        except (OSError, WorkerError) as error:
            log.warning("what a merge left could not be removed; the next consolidation does it", error=error)


def _is_still(run: _Run, found: _Run) -> bool:
    """Return whether a run that is possible now includes one that was planned: meanwhile it may have become longer."""
    return (
        found.point.manifest == run.point.manifest
        and found.removed >= run.removed
        and found.stack[: len(run.inputs)] == run.stack[: len(run.inputs)]
    )
