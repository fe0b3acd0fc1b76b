"""Reading the catalogue that a pod wrote to its log, and merging it into what is known of the repository."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sendense_operator.answer import CatalogueSeal
from sendense_operator.catalogue_format import CatalogueError, read_catalogue
from sendense_operator.cluster.objects import Obj
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.catalogue.decisions import changed_chains, merge_scan, sort_records
from sendense_operator.reconcile.state.context import ChainContext, ReconcileContext
from sendense_operator.reconcile.state.keys import ChainKey, Key
from sendense_operator.reconcile.state.kubernetes_objects import created
from sendense_operator.reconcile.state.records import ScanResult
from sendense_operator.reconcile.workload.worker_pod import CONTAINER
from sendense_operator.task import Removal


async def read_reported(
    ctx: ReconcileContext, job: Obj, pod: Obj | None, seal: CatalogueSeal, asked: Sequence[Removal] = ()
) -> ScanResult:
    """Return what a pod reported; `asked`: what it had to remove. Raises CatalogueError, ClusterError."""
    if pod is None:
        raise CatalogueError("the pod is gone, and its log with it")
    lines = await ctx.cluster.read_log(job["metadata"]["namespace"], pod["metadata"]["name"], CONTAINER)
    # Tens of thousands of records take a second, which would hold up everything else.
    return await asyncio.to_thread(lambda: sort_records(read_catalogue(lines, seal), created(job), asked))


def merge_reported(ctx: ChainContext, key: ObjectKey, reported: ScanResult) -> None:
    """Merge a report into what is known of the repository `key`, and check the chains that it changes."""
    before = ctx.repository_hints.catalogues.get(key)
    ctx.repository_hints.catalogues.put(key, merge_scan(before, reported))
    for vm in changed_chains(before, reported):
        ctx.again(Key.of_chain(key.namespace, ChainKey(vm, key.name)))
