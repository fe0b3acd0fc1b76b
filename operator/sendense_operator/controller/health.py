"""Liveness and readiness; they and the metrics are served over HTTP."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from sendense_operator.cluster.lease import LeaderElection
from sendense_operator.controller.metrics.exposition import CONTENT_TYPE
from sendense_operator.reconcile.state.keys import Key, Work

STALE_S: Final = 60.0
STALLED_S: Final = 240.0
"""Longer than one reconcile may take (reconciler.TIMEOUT_S): workers that are held as long never come back."""

Metrics = Callable[[], Awaitable[bytes]]
"""Returns all metrics in Prometheus' text format."""


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

    def done(self, key: Key) -> None:
        """Record that a piece of work was done."""
        if key.work is Work.HEARTBEAT:
            self._beat = time.monotonic()

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


def build_app(health: Health, metrics: Metrics) -> web.Application:
    """Return the routes."""

    async def healthz(_: web.Request) -> web.Response:
        trouble = health.trouble()
        return web.Response(text=trouble or "ok", status=503 if trouble else 200)

    async def readyz(_: web.Request) -> web.Response:
        ready = health.ready and health.synced()
        return web.Response(text="ok" if ready else "starting", status=200 if ready else 503)

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", scrape)
    return app


async def serve(health: Health, metrics: Metrics, port: int) -> web.AppRunner:
    """Start to serve; `cleanup` of the result ends it."""
    runner = web.AppRunner(build_app(health, metrics), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
