"""Puts the controller together: cluster, queue, leader election, watches, health."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from sendense_operator.cluster.api_client import Cluster, KubernetesCluster
from sendense_operator.cluster.errors import ClusterError
from sendense_operator.cluster.events import EventRecorder
from sendense_operator.cluster.kinds import BACKUP
from sendense_operator.cluster.lease import LeaderElection
from sendense_operator.controller.bulk_watch import Follower
from sendense_operator.controller.certificate_renewal import CertificateRenewal
from sendense_operator.controller.health import Health, serve
from sendense_operator.controller.kopf_watches import watch_forever
from sendense_operator.controller.metrics.exposition import Exposition
from sendense_operator.controller.metrics.process_metrics import ControllerMetrics
from sendense_operator.controller.work_pools import pool_of, pool_sizes
from sendense_operator.controller.work_queue import WorkQueue
from sendense_operator.logs import backup_context, get_logger
from sendense_operator.reconcile.dispatch import Reconciler
from sendense_operator.reconcile.state.context import Appliance, Context
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.reconcile.vcenter.gateway_polling import HttpGatewayReader
from sendense_operator.reconcile.workload.worker_status import HttpWorkerReader
from sendense_operator.vma.callback_keys import MountedKeys
from sendense_operator.vma.vma_client import VMAClient

_API_POLL_S: Final = 2.0
_log = get_logger(__name__)


def connect_vma(url: str, ca_bundle: str | None, timeout: float) -> Appliance:
    """Return a client of a VMA. The CA bundle is no secret; the library wants it as a file."""
    if ca_bundle is None:
        return VMAClient(url, None, timeout)
    with tempfile.NamedTemporaryFile("w", suffix=".crt", delete=False) as file:
        file.write(ca_bundle)
    try:
        return VMAClient(url, Path(file.name), timeout)
    finally:
        Path(file.name).unlink()


async def run_controller(settings: Settings) -> None:
    """Until SIGTERM or SIGINT."""
    async with await KubernetesCluster.connect() as cluster:
        reader = HttpWorkerReader()
        keys = MountedKeys(Path(settings.callback_key_folder))
        gateways = HttpGatewayReader(settings.gateway_status_host, settings.gateway_status_port, keys)
        try:
            await _run(settings, cluster, reader, gateways)
        finally:
            await gateways.close()
            await reader.close()


async def _run(
    settings: Settings, cluster: KubernetesCluster, reader: HttpWorkerReader, gateways: HttpGatewayReader
) -> None:
    identity = settings.pod_name or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    election = LeaderElection(cluster, settings.operator_namespace, settings.lease_name, identity)
    health = Health(election)
    metrics = ControllerMetrics()
    queue: WorkQueue[Key]

    def enqueue(key: Key, delay: float) -> None:
        if delay > 0:
            queue.add_after(key, delay)
        else:
            queue.add(key)

    ctx = Context(
        cluster=cluster,
        settings=settings,
        events=EventRecorder(cluster),
        workers=reader,
        connect=metrics.vma_calls.measured(connect_vma),
        enqueue=enqueue,
        gateways=gateways,
        callback_keys=gateways.keys,
        now=cluster.now,
    )
    follower = Follower(cluster, enqueue, settings.namespaces)
    reconciler = Reconciler(ctx, follower.protection)
    queue = WorkQueue(
        observed(reconciler, health, metrics),
        workers=pool_sizes(settings.queue_workers),
        pool_of=pool_of,
        on_start=metrics.key_started,
    )
    health.stalled_s = lambda: queue.stalled_s
    health.synced = lambda: follower.synced
    metrics.watch(election.leading.is_set, lambda: follower.age_s, queue.loads)
    site = await serve(health, exposition_of(metrics, election, follower).text, settings.health_port)
    for duty in (Work.HEARTBEAT, Work.RESYNC, Work.GATEWAYS):
        queue.add(Key(duty))

    def gained() -> None:
        health.gained()
        queue.resume()

    def is_ready() -> None:
        health.ready = True

    background = [
        asyncio.create_task(election.run(gained, queue.pause), name="leader election"),
        asyncio.create_task(queue.run(), name="work queue"),
        asyncio.create_task(_watch(ctx, identity, is_ready), name="watches"),
        asyncio.create_task(follower.run(), name="follower"),
    ]
    if renewal := CertificateRenewal.of(settings, cluster):
        background.append(asyncio.create_task(renewal.run(election.leading, cluster.now), name="certificate"))
    try:
        await _until_one_ends(background)
    finally:
        await site.cleanup()


def exposition_of(metrics: ControllerMetrics, election: LeaderElection, follower: Follower) -> Exposition:
    """Return what scrapes get: the series of objects only from the one that leads, and once it knows all objects."""
    return Exposition(metrics.registry, follower.state.snapshot, lambda: election.leading.is_set() and follower.synced)


async def _until_one_ends(background: Sequence[asyncio.Task[None]]) -> None:
    """Wait for the end of the first, which only a signal may cause; end the others, and raise what it raised."""
    try:
        done, _ = await asyncio.wait(background, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)


async def _watch(ctx: Context, identity: str, on_ready: Callable[[], None]) -> None:
    await wait_for_api(ctx.cluster, ctx.settings)
    await watch_forever(ctx.enqueue, ctx.watch_hints, ctx.settings.namespaces, identity, on_ready)


async def wait_for_api(cluster: Cluster, settings: Settings) -> None:
    """Until the API server answers and serves our kinds: kopf looks for them once, when it starts."""
    said = ""
    while True:
        try:
            for namespace in settings.namespaces or (None,):
                await cluster.list_objects(BACKUP, namespace, fields="metadata.name=none")
        except ClusterError as error:
            if str(error) != said:
                said = str(error)
                _log.warning("waiting for the API", error=said)
            await asyncio.sleep(_API_POLL_S)
        else:
            return


def observed(
    reconcile: Callable[[Key], Awaitable[float | None]], health: Health, metrics: ControllerMetrics
) -> Callable[[Key], Awaitable[float | None]]:
    """Wrap the reconcile: measured, and with the Backup's name on each log line."""

    async def work(key: Key) -> float | None:
        with backup_context(key.namespace, key.name) if key.work is Work.BACKUP else contextlib.nullcontext():
            _log.debug("reconcile", object=key)
            with metrics.reconciling(key):
                delay = await reconcile(key)
        health.done(key)
        return delay

    return work
