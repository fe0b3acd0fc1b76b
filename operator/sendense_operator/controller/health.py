"""Liveness, readiness and metrics, over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest

from sendense_operator.cluster.lease import LeaderElection
from sendense_operator.reconcile.state.keys import Key, Work

STALE_S: Final = 60.0
STALLED_S: Final = 240.0
"""Longer than one reconcile may take (reconciler.TIMEOUT_S): workers that are held as long never come back."""
_OWN_DUTIES: Final = frozenset({Work.HEARTBEAT, Work.RESYNC, Work.WAKE, Work.GATEWAYS})


class Health:
    """Knows whether work gets done: the queue hands it out, as a heartbeat proves, and its workers come back.

    A slow appliance or API server is no reason to be restarted, only work that waits and workers that never end.
    """

    def __init__(self, election: LeaderElection) -> None:
        self._election = election
        self._beat = time.monotonic()
        self.ready = False
        self.synced: Callable[[], bool] = lambda: True
        """Whether all objects were listed once."""
        self.stalled_s: Callable[[], float] = lambda: 0.0
        """Seconds for which work has waited while none began or ended."""
        self._registry = CollectorRegistry()
        self._reconciles = Counter("sendense_reconciles", "Reconciles by kind.", ["kind"], registry=self._registry)
        leading = Gauge("sendense_leading", "Whether this process holds the Lease.", registry=self._registry)
        leading.set_function(election.leading.is_set)
        ProcessCollector(registry=self._registry)

    def done(self, key: Key) -> None:
        """Record that a piece of work was done."""
        if key.work is Work.HEARTBEAT:
            self._beat = time.monotonic()
        if key.work not in _OWN_DUTIES:
            self._reconciles.labels(key.work.value).inc()

    def gained(self) -> None:
        """Record that the process leads from now on."""
        self._beat = time.monotonic()

    def trouble(self) -> str:
        """Return why the process should be restarted; empty when it is well."""
        now = time.monotonic()
        if now - self._election.last_try > STALE_S:
            return "the leader election is stuck"
        if self._election.leading.is_set() and now - self._beat > STALE_S:
            return "the work queue is stuck"
        if self._election.leading.is_set() and self.stalled_s() > STALLED_S:
            return "work waits, and no worker comes back"
        return ""

    def metrics(self) -> str:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry).decode()


def build_app(health: Health) -> web.Application:
    """Return the routes."""

    async def healthz(_: web.Request) -> web.Response:
        trouble = health.trouble()
        return web.Response(text=trouble or "ok", status=503 if trouble else 200)

    async def readyz(_: web.Request) -> web.Response:
        ready = health.ready and health.synced()
        return web.Response(text="ok" if ready else "starting", status=200 if ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=health.metrics(), content_type="text/plain")

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app


async def serve(health: Health, port: int) -> web.AppRunner:
    """Start to serve; `cleanup` of the result ends it."""
    runner = web.AppRunner(build_app(health), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
