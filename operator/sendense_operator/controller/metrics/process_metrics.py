"""What the controller's process did, counted since it started."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.controller.metrics.families import gauge
from sendense_operator.controller.metrics.measured_appliance import VMACalls
from sendense_operator.controller.work_queue import PoolLoad
from sendense_operator.reconcile.state.keys import Key, Work

BUCKETS_S: Final = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 180.0)
"""Up to the seconds that one reconcile may take."""
_OWN_DUTIES: Final = frozenset({Work.HEARTBEAT, Work.RESYNC, Work.WAKE, Work.GATEWAYS})


class _Queue(Collector):
    """The work queue and the watches at the moment of a scrape."""

    def __init__(
        self, leading: Callable[[], bool], age_s: Callable[[], float], loads: Callable[[], Mapping[str, PoolLoad]]
    ) -> None:
        self._leading = leading
        self._age_s = age_s
        self._loads = loads

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield them."""
        loads = self._loads()
        yield gauge(catalogue.LEADING, [((), int(self._leading()))])
        yield gauge(catalogue.WATCH_AGE, [((), self._age_s())])
        yield gauge(catalogue.QUEUE_LENGTH, (((pool,), load.waiting) for pool, load in loads.items()))
        yield gauge(catalogue.QUEUE_RUNNING, (((pool,), load.running) for pool, load in loads.items()))
        yield gauge(catalogue.QUEUE_WORKERS, (((pool,), load.workers) for pool, load in loads.items()))


class ControllerMetrics:
    """Counters of the process, in a registry of its own: several controllers may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.vma_calls = VMACalls(self.registry)
        self._reconciles = counter(catalogue.RECONCILES, self.registry)
        self._errors = counter(catalogue.RECONCILE_ERRORS, self.registry)
        self._seconds = histogram(catalogue.RECONCILE_SECONDS, self.registry)
        self._waits = histogram(catalogue.QUEUE_WAIT, self.registry)
        self._heartbeat: Gauge | None = None
        ProcessCollector(registry=self.registry)

    def watch(
        self, leading: Callable[[], bool], age_s: Callable[[], float], loads: Callable[[], Mapping[str, PoolLoad]]
    ) -> None:
        """Have scrapes tell whether the process leads, how old the watches are, and how busy the queue is."""
        self.registry.register(_Queue(leading, age_s, loads))

    @contextmanager
    def reconciling(self, key: Key) -> Iterator[None]:
        """Measure a reconcile. One that is cancelled, since another controller leads, counts as nothing."""
        begin, kind = time.monotonic(), key.work.value
        try:
            yield
        except asyncio.CancelledError:
            raise
        except Exception:
            self._errors.labels(kind).inc()
            self._seconds.labels(kind).observe(time.monotonic() - begin)
            raise
        if key.work is Work.HEARTBEAT:
            self._beat()
        if key.work not in _OWN_DUTIES:
            self._reconciles.labels(kind).inc()
            self._seconds.labels(kind).observe(time.monotonic() - begin)

    def key_started(self, pool: str, waited: float) -> None:
        """Count the seconds that a key waited for a worker of its pool."""
        self._waits.labels(pool).observe(waited)

    def _beat(self) -> None:
        """There is no such series before the first: a controller that never led would seem to be stuck since 1970."""
        if self._heartbeat is None:
            metric = catalogue.HEARTBEAT
            self._heartbeat = Gauge(metric.name, metric.meaning, registry=self.registry)
        self._heartbeat.set_to_current_time()


def counter(metric: catalogue.Metric, registry: CollectorRegistry) -> Counter:
    """Return a counter of the catalogue."""
    return Counter(metric.name, metric.meaning, metric.labels, registry=registry)


def histogram(metric: catalogue.Metric, registry: CollectorRegistry) -> Histogram:
    """Return a histogram of seconds of the catalogue."""
    return Histogram(metric.name, metric.meaning, metric.labels, buckets=BUCKETS_S, registry=registry)
