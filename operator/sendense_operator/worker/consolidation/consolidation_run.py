"""One consolidation of a chain, from the task to the answer.

A backup can run meanwhile: the pod has a lock of its own, pins what it reads, and needs the chain's lock only for the
switch to each merged layer, and to free what is unneeded.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sendense_operator.answer import Answer, CatalogueSeal
from sendense_operator.catalogue_format import CatalogueWriter
from sendense_operator.chain import layout
from sendense_operator.chain.consolidation import (
    ChainState,
    ConsolidationPlan,
    Limits,
    plan_consolidation,
    without,
)
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.consolidation_task import ConsolidationObstacle, ConsolidationTask
from sendense_operator.logs import emit_line, get_logger
from sendense_operator.worker.consolidation.consolidation_scope import ConsolidationScope
from sendense_operator.worker.consolidation.consolidation_state import ConsolidationState
from sendense_operator.worker.consolidation.layer_exchange import LayerExchange, MergeRefusedError
from sendense_operator.worker.errors import storage_error
from sendense_operator.worker.lifecycle.stop_requests import run_to_end
from sendense_operator.worker.maintenance.chain_maintenance import Survey, maintain
from sendense_operator.worker.maintenance.scan_records import chain_records
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage import recovery
from sendense_operator.worker.storage.chain_folder import StoredPoint, read_chain
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.commit import no_step
from sendense_operator.worker.storage.merge_journal import merge_lock_of
from sendense_operator.worker.storage.merge_switch import chain_state, drop_merge
from sendense_operator.worker.storage.pins import pinned
from sendense_operator.worker.storage.point_lookup import locate_chain, read_listing
from sendense_operator.worker.storage.repository_marker import open_repository

log = get_logger(__name__)

_Plan = ConsolidationPlan[StoredPoint]


async def run_consolidation(
    settings: Settings,
    task: ConsolidationTask,
    state: ConsolidationState,
    emit: Callable[[str], None] = emit_line,
    on_step: Callable[[str], None] = no_step,
) -> Answer:
    """Merge what can be merged, and return the answer. `emit` receives the lines of the catalogue of the chain.

    `on_step` receives the name of each step that changes the chain before it is done. Raises WorkerError if nothing
    can be done at all; what was merged before is in `state`.
    """
    root, paths = locate_chain(settings, task, ())
    open_repository(root, task.repository_id)
    runtime = Path(tempfile.mkdtemp(prefix="sendense-"))
    merging = await ChainLock.acquire(root / merge_lock_of(paths), root, settings.pod_uid, settings.lock_wait)
    with merging:
        try:
            scope = ConsolidationScope(settings, task, state, root, paths, merging, runtime, on_step)
            plan, failures = await _Consolidation(scope).merge_all()
        finally:
            state.limit.stop()
            shutil.rmtree(runtime, ignore_errors=True)
    seal = await run_to_end(asyncio.to_thread(_catalogue, scope, emit))
    return _answer(root, paths, state, plan, failures, seal)


def _catalogue(scope: ConsolidationScope, emit: Callable[[str], None]) -> CatalogueSeal:
    """Free what is unneeded now, and write the catalogue of the chain; return its seal."""
    writer = CatalogueWriter(emit)
    for record in chain_records(_maintain(scope)):
        writer.add(record)
    return writer.close()


def _maintain(scope: ConsolidationScope) -> Survey:
    """Free what is unneeded, as far as no backup is writing the chain, and survey it."""
    return maintain(scope.root, scope.paths, scope.settings.pod_uid, clean=False, rule=scope.rule)


def _answer(
    root: Path,
    paths: ChainPaths,
    state: ConsolidationState,
    plan: _Plan,
    failures: list[tuple[ConsolidationObstacle, str]],
    seal: CatalogueSeal,
) -> Answer:
    newest = read_chain(root, paths).points[-1:]
    depth = max((disk.depth for point in newest for disk in point.manifest.disks), default=0)
    left, message = failures[0] if failures else (plan.left, plan.message)
    has_failed = left is ConsolidationObstacle.MERGE_FAILED
    return Answer(
        outcome="Failed" if has_failed else "Completed",
        reason=left if has_failed and left else "",
        message=message if has_failed else "",
        consolidated=state.result(depth, left, message),
        started=state.started,
        finished=datetime.now(UTC),
        catalogue=seal,
    )


class _Consolidation:
    """The merges of one run, one after the other: each may change what the next one starts from."""

    def __init__(self, scope: ConsolidationScope) -> None:
        self._scope = scope
        self._root, self._paths = scope.root, scope.paths
        self._exchange = LayerExchange(scope)
        self._refused = dict[str, tuple[ConsolidationObstacle, str]]()
        """Why merges were refused in this run, by the layer that would have been replaced."""

    async def merge_all(self) -> tuple[_Plan, list[tuple[ConsolidationObstacle, str]]]:
        """Merge until nothing is left to merge. Return the last plan, and why merges were refused that still could be.

        Raises WorkerError. What can be freed without a merge is freed first, as far as no backup is writing the chain.
        """
        self._scope.state.say("freeing what is unneeded")
        await run_to_end(asyncio.to_thread(self._prepare))
        while True:
            limits, whole = await self._plan()
            plan = without(whole, frozenset(self._refused))
            if not plan.runs:
                # A run may be over: its restore point was removed, and its layers belong to that of the next one.
                return plan, [self._refused[run.disk.file] for run in whole.runs]
            run = plan.runs[0]
            try:
                await self._exchange.merge(run, limits)
            except MergeRefusedError as error:
                log.warning("layers were not merged", layer=run.disk.file, reason=error.obstacle, message=str(error))
                self._refused[run.disk.file] = (error.obstacle, str(error))

    def _prepare(self) -> None:
        """Free what can be freed, and remove what an earlier merge left. Raises WorkerError."""
        _maintain(self._scope)
        try:
            drop_merge(self._root, self._paths, self._scope.before)
            for partial in recovery.partials(self._root, self._paths):
                if layout.is_merged_partial(partial.name):
                    self._scope.before()
                    partial.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, "removing what an earlier merge left") from error

    async def _plan(self) -> tuple[Limits, _Plan]:
        chain = await read_listing(self._root, self._paths, self._scope.settings)
        try:
            state: ChainState[StoredPoint] = chain_state(self._root, chain)
            with pinned(self._root, self._paths) as pins:
                limits = self._scope.limits
                return limits, plan_consolidation(state, pins, limits)
        except OSError as error:
            raise storage_error(error, "reading the chain") from error
