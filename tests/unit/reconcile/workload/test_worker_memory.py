"""The memory that a worker's pod gets."""

from __future__ import annotations

from typing import Any

import pytest

from sendense_operator.chain.memory_estimate import DiskLoad, estimate
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.state.quantity import parse_quantity
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.reconcile.workload.worker_memory import decide_resources

TIB = 1 << 40
SMALL, LARGE = [DiskLoad(1 << 30, 32)], [DiskLoad(64 * TIB, 32)]
CHART: dict[str, Any] = {"requests": {"cpu": "100m", "memory": "192Mi"}, "limits": {"memory": "1Gi", "cpu": "2"}}


@pytest.mark.parametrize(
    ("text", "count"),
    [("1Gi", 1 << 30), ("512Mi", 1 << 29), ("1.5G", 1_500_000_000), ("100k", 100_000), ("64Ki", 65536),
     (1048576, 1 << 20), ("1e9", 10**9), ("2E", 2 * 10**18), ("1000m", 1), ("128974848", 128974848), (".5Gi", 1 << 29)],
)  # fmt: skip
def test_quantities(text: str, count: int) -> None:
    assert parse_quantity(text) == count


@pytest.mark.parametrize("text", ["", "lots", "1GiB", "-1", "1 Gi", "1e999", "Gi"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)
    if text:
        for name, value in (("worker_max_memory", text), ("worker_resources", {"limits": {"memory": text}})):
            with pytest.raises(ValueError, match="not a quantity"):
                Settings.model_validate({"worker_image": "x", name: value})


def test_what_the_chart_says_is_enough_for_most() -> None:
    assert decide_resources(SMALL, CHART, "8Gi") == CHART
    assert decide_resources(LARGE, {}, "8Gi") == {}  # nobody bounds it


@pytest.mark.parametrize("ceiling", ["8Gi", ""])
def test_a_large_vm_gets_what_it_needs(ceiling: str) -> None:
    found = decide_resources(LARGE, CHART, ceiling)
    assert not isinstance(found, Problem)
    assert parse_quantity(found["limits"]["memory"]) >= estimate(LARGE) > parse_quantity(CHART["limits"]["memory"])
    assert found["requests"] == {"cpu": "100m", "memory": found["limits"]["memory"]}
    assert found["limits"]["cpu"] == "2"
    assert CHART["limits"]["memory"] == "1Gi"


def test_more_than_is_allowed_is_refused_with_the_numbers() -> None:
    found = decide_resources(LARGE, CHART, "1200Mi")
    assert isinstance(found, Problem)
    assert (found.reason, found.meaning) == ("MemoryExceeded", Meaning.FINAL)
    for words in (f"about {-(-estimate(LARGE) // (1 << 20))} MiB", "65536 GiB", "32 layers", "1200Mi"):
        assert words in found.message


def test_a_ceiling_below_the_limit_takes_nothing_away() -> None:
    assert decide_resources(SMALL, CHART, "64Mi") == CHART
