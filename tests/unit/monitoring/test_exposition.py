"""What the controller serves is what Prometheus reads, and named as its conventions want."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.support import sample
from tests.support.metricsamples import samples_of
from tests.support.staterecords import record

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.controller.metrics.exposition import Exposition
from sendense_operator.controller.metrics.process_metrics import ControllerMetrics
from sendense_operator.controller.metrics.state_series import StateStores
from sendense_operator.controller.work_queue import PoolLoad
from sendense_operator.reconcile.state.keys import Key, Work

from .conftest import Promtool

_CHAIN = {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}}


def _stores() -> StateStores:
    stores = StateStores()
    for obj in (
        sample.backup(),
        sample.protected_vm("db", {"latestTime": sample.stamp()}),
        sample.protected_vm("web"),
        sample.custom("BackupChain", "db-store", _CHAIN),
        sample.custom("BackupPolicy", "daily", {"repositoryRef": {"name": "store"}}),
        sample.repository(),
        sample.appliance(),
    ):
        record(stores, obj["kind"], obj)
    return stores


async def _scraped() -> bytes:
    metrics = ControllerMetrics()
    metrics.watch(lambda: True, lambda: 0.5, lambda: {"objects": PoolLoad(0, 1, 32)})
    metrics.key_started("objects", 0.1)
    for work in (Work.BACKUP, Work.HEARTBEAT):
        with metrics.reconciling(Key(work)):
            pass
    with metrics.vma_calls.calling("health"):
        pass
    return await Exposition(metrics.registry, _stores().snapshot, lambda: True).text()


async def test_prometheus_reads_it_and_has_no_advice(promtool: Promtool) -> None:
    promtool("check", "metrics", given=await _scraped())


async def test_each_series_is_of_the_catalogue_and_has_its_labels() -> None:
    known = {series: metric for metric in catalogue.all_metrics() for series in metric.series}
    for name, labels in samples_of(await _scraped()):
        if name.startswith("sendense_") and name.removesuffix("_created") == name:
            assert {label for label, _ in labels} - {"le"} == set(known[name].labels), name


async def test_times_are_in_seconds_since_the_epoch() -> None:
    now = datetime.now(UTC).timestamp()
    for (name, _), value in samples_of(await _scraped()).items():
        if name.endswith("_timestamp_seconds"):
            assert 1.7e9 < value <= now + 1, name
