"""Samples in Prometheus' text format, as the tests look at them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values by name and sorted labels."""


def samples_of(text: bytes) -> Samples:
    """Return all samples. Raises AssertionError if a series is there twice, which no Prometheus would take."""
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    return found


def series_of(text: bytes, name: str) -> dict[tuple[str, ...], float]:
    """Return the series of one metric, by the values of its labels in the order of the labels' names."""
    return {
        tuple(value for _, value in labels): number for (of, labels), number in samples_of(text).items() if of == name
    }
