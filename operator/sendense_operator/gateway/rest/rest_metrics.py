"""Metrics of the REST listener. No names of users, VMs or backups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.gateway.rest.object_cache import Freshness, Stores

BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class _Objects(Collector):
    """The object cache at the moment of a scrape."""

    def __init__(self, stores: Stores, freshness: Freshness) -> None:
        self._stores = stores
        self._freshness = freshness

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the number of objects by kind, and the age of the cache."""
        metric = catalogue.REST_OBJECTS
        objects = GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        for kind, store in (
            ("Backup", self._stores.backups),
            ("BackupChain", self._stores.chains),
            ("BackupRepository", self._stores.repositories),
            ("ProtectedVM", self._stores.vms),
            ("Restore", self._stores.restores),
        ):
            objects.add_metric([kind], len(store))
        yield objects
        age = catalogue.REST_AGE
        yield GaugeMetricFamily(age.name, age.meaning, value=self._freshness.age_s)


class Metrics:
    """Counted since the start. A registry of its own: several applications may live in one process."""

    def __init__(self, stores: Stores, freshness: Freshness) -> None:
        self._registry = CollectorRegistry()
        requests, times = catalogue.REST_REQUESTS, catalogue.REST_SECONDS
        self._requests = Counter(requests.name, requests.meaning, requests.labels, registry=self._registry)
        self._seconds = Histogram(times.name, times.meaning, times.labels, buckets=BUCKETS_S, registry=self._registry)
        self._registry.register(_Objects(stores, freshness))
        ProcessCollector(registry=self._registry)

    def done(self, operation: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(operation, str(status)).inc()
        self._seconds.labels(operation).observe(seconds)

    def text(self) -> str:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry).decode()
