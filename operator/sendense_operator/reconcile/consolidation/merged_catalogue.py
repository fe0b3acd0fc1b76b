"""What a consolidation's pod reported about its chain: for the catalogue, and for the status of the Backups."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from sendense_operator.catalogue_format import CatalogueError
from sendense_operator.cluster.errors import ClusterError
from sendense_operator.logs import get_logger
from sendense_operator.reconcile.backups.layer_refresh import follow_manifest
from sendense_operator.reconcile.catalogue.ownership import point_uid
from sendense_operator.reconcile.chain_jobs.job_following import EndedJob
from sendense_operator.reconcile.chain_jobs.worked_chain import WorkedChain
from sendense_operator.reconcile.repositories.catalogue_reading import merge_reported, read_reported
from sendense_operator.reconcile.state.context import ChainJobContext
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.state.records import ChainView, ScanResult

_ABREAST: Final = 8
"""Backups whose status is written at the same time."""
_log = get_logger(__name__)


async def take_in_catalogue(ctx: ChainJobContext, chain: WorkedChain, ended: EndedJob) -> bool:
    """Act on the pod's catalogue; whether Backups were changed, which are to be read again then.

    Repeating it changes nothing more. What can't be read concludes nothing: a scan of the repository is requested.
    Raises ClusterError.
    """
    if ended.answer is None or ended.answer.catalogue is None:
        return False
    known = ctx.repository_hints.catalogues.get(chain.repository_key)
    view = known.chains.get(chain.key.vm) if known is not None else None
    if view is None or ended.pod_end is None or view.taken <= ended.pod_end:
        view = await _read(ctx, chain, ended)  # else a later pod listed the chain: it knows better
    return view is not None and await _refresh(ctx, chain, view)


async def _read(ctx: ChainJobContext, chain: WorkedChain, ended: EndedJob) -> ChainView | None:
    try:
        reported = await _reported(ctx, chain, ended)
    except (CatalogueError, ClusterError) as error:
        _log.warning("the catalogue of a consolidation can't be read", chain=chain.key, error=error)
        if ctx.repository_messages.request_scan(chain.repository_key):
            ctx.again(Key(Work.REPOSITORY, *chain.repository_key))
        return None
    merge_reported(ctx, chain.repository_key, reported)
    return reported.chains[chain.key.vm]


async def _reported(ctx: ChainJobContext, chain: WorkedChain, ended: EndedJob) -> ScanResult:
    """Return the pod's report of its chain. Raises CatalogueError, ClusterError."""
    if ended.answer is None or ended.answer.catalogue is None:
        raise CatalogueError("the pod reported no catalogue")
    reported = await read_reported(ctx, ended.job, ended.pod, ended.answer.catalogue)
    if reported.root is not None or reported.chains.keys() != {chain.key.vm}:
        raise CatalogueError("it is not that of this chain")
    known = ctx.repository_hints.catalogues.get(chain.repository_key)
    before = known.repository_id if known is not None else ""
    return replace(reported, repository_id=ended.answer.repository_id or before)


async def _refresh(ctx: ChainJobContext, chain: WorkedChain, view: ChainView) -> bool:
    """Let the Backups tell of the layers that their manifests name; whether any was written."""
    points = view.points
    concerned = [(obj, points[uid]) for obj in chain.backups if (uid := point_uid(obj)) in points]
    written = False
    for start in range(0, len(concerned), _ABREAST):
        some = concerned[start : start + _ABREAST]
        ends = await asyncio.gather(*(follow_manifest(ctx, obj, point) for obj, point in some))
        written = written or any(ends)
    return written
