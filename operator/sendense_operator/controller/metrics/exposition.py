"""What a scrape of the controller gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from sendense_operator.controller.metrics.state_series import StateSnapshot, state_families

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class _State(Collector):
    """The series of one snapshot."""

    def __init__(self, snapshot: StateSnapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        yield from state_families(self._snapshot)


class Exposition:
    """All metrics of the process; those of objects only while `exposes`, so that one of several controllers has them.

    `process`: what the process counts; `snapshot`: what there is now.
    """

    def __init__(
        self, process: CollectorRegistry, snapshot: Callable[[], StateSnapshot], exposes: Callable[[], bool]
    ) -> None:
        self._process = process
        self._snapshot = snapshot
        self._exposes = exposes

    async def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        process = generate_latest(self._process)
        if not self._exposes():
            return process
        # In a thread: with thousands of VMs it takes a second, in which the loop has other things to do.
        return process + await asyncio.to_thread(state_text, self._snapshot())


def state_text(snapshot: StateSnapshot) -> bytes:
    """Return the series of objects in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_State(snapshot))
    return generate_latest(registry)
