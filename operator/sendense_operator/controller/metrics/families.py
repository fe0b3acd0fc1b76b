"""Makes samples of the catalogue's metrics."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily

from sendense_operator.metric_catalogue import Metric

Sample = tuple[tuple[str, ...], float | None]
"""Values of the labels, in their order, and the value; None: there is no such series."""


def gauge(metric: Metric, samples: Iterable[Sample]) -> GaugeMetricFamily:
    """Return a gauge with its series."""
    family = GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in samples:
        if value is not None:
            family.add_metric(labels, value)
    return family
