"""What the process counts, and who exposes the series of objects."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from tests.support import sample
from tests.support.metricsamples import samples_of, series_of

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.controller.metrics.exposition import Exposition
from sendense_operator.controller.metrics.measured_appliance import VMACalls
from sendense_operator.controller.metrics.process_metrics import ControllerMetrics
from sendense_operator.controller.metrics.state_series import StateStores
from sendense_operator.controller.metrics.vm_series import VMRecord
from sendense_operator.controller.work_queue import PoolLoad
from sendense_operator.reconcile.state.context import Appliance
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.vma.errors import VMAError, VMAGarbage, VMARefused, VMAUnreachable
from sendense_operator.vma.messages import VMAHealth


def reconciled(metrics: ControllerMetrics, *works: Work) -> None:
    for work in works:
        with metrics.reconciling(Key(work)):
            pass


def text_of(metrics: ControllerMetrics) -> bytes:
    return generate_latest(metrics.registry)


def watched(*, leading: bool = True) -> ControllerMetrics:
    metrics = ControllerMetrics()
    metrics.watch(lambda: leading, lambda: 3.0, lambda: {"objects": PoolLoad(5, 2, 32)})
    return metrics


def test_reconciles_are_counted_by_kind() -> None:
    metrics = watched()
    reconciled(metrics, Work.BACKUP, Work.BACKUP, Work.VM, Work.HEARTBEAT, Work.RESYNC, Work.WAKE)
    text = text_of(metrics)
    assert series_of(text, catalogue.RECONCILES.name) == {("Backup",): 2, ("ProtectedVM",): 1}
    assert series_of(text, "sendense_reconcile_seconds_count") == {("Backup",): 2, ("ProtectedVM",): 1}
    assert series_of(text, catalogue.HEARTBEAT.name)[()] > 1e9
    (resident,) = re.findall(rb"^process_resident_memory_bytes (\S+)$", text, re.MULTILINE)
    assert float(resident) > 1e6


def test_errors_are_counted_and_cancellations_are_not() -> None:
    metrics = watched()
    for error in (RuntimeError(), asyncio.CancelledError()):
        with pytest.raises(type(error)), metrics.reconciling(Key(Work.CHAIN)):
            raise error
    text = text_of(metrics)
    assert series_of(text, catalogue.RECONCILE_ERRORS.name) == {("BackupChain",): 1}
    assert series_of(text, "sendense_reconcile_seconds_count") == {("BackupChain",): 1}
    assert series_of(text, catalogue.RECONCILES.name) == {}


def test_one_that_never_led_has_no_heartbeat() -> None:
    text = text_of(watched(leading=False))
    assert series_of(text, catalogue.HEARTBEAT.name) == {}
    assert series_of(text, catalogue.LEADING.name) == {(): 0}


def test_the_queue_and_the_watches() -> None:
    metrics = watched()
    metrics.key_started("objects", 0.2)
    text = text_of(metrics)
    values = {catalogue.QUEUE_LENGTH: 5, catalogue.QUEUE_RUNNING: 2, catalogue.QUEUE_WORKERS: 32}
    for metric, value in values.items():
        assert series_of(text, metric.name) == {("objects",): value}
    assert series_of(text, catalogue.WATCH_AGE.name) == {(): 3}
    assert series_of(text, "sendense_work_queue_wait_seconds_sum") == {("objects",): 0.2}


def test_each_metric_of_the_catalogue_is_there() -> None:
    metrics = watched()
    reconciled(metrics, Work.HEARTBEAT)
    described = {line.split()[2] for line in text_of(metrics).decode().splitlines() if line.startswith("# HELP")}
    assert {name for name in described if name.startswith("sendense_") and not name.endswith("_created")} == {
        metric.name for metric in catalogue.CONTROLLER.metrics
    }


class FakeAppliance:
    def __init__(self, error: VMAError | None = None) -> None:
        self._error = error

    async def health(self) -> VMAHealth:
        if self._error is not None:
            raise self._error
        return VMAHealth(status="healthy")

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "Answered"),
        (VMAUnreachable("away"), "Unreachable"),
        (VMARefused("health", 500, "no"), "Refused"),
        (VMAGarbage("what"), "Invalid"),
    ],
)
async def test_calls_of_appliances(error: VMAError | None, outcome: str) -> None:
    registry = CollectorRegistry()
    fake: Any = FakeAppliance(error)
    measured: Appliance = VMACalls(registry).measured(lambda *_: fake)("http://vma.example", None, 5.0)
    if error is None:
        await measured.health()
    else:
        with pytest.raises(type(error)):
            await measured.health()
    text = generate_latest(registry)
    assert series_of(text, catalogue.VMA_CALLS.name) == {("health", outcome): 1}
    assert series_of(text, "sendense_vma_call_seconds_count") == {("health",): 1}


async def test_only_the_leader_exposes_the_objects() -> None:
    stores = StateStores()
    stores.vms.put(VMRecord.of(sample.protected_vm()))
    exposed = False
    exposition = Exposition(watched().registry, stores.snapshot, lambda: exposed)
    standby = samples_of(await exposition.text())
    assert not [name for name, _ in standby if name.startswith("sendense_protectedvm")]
    exposed = True
    leader = samples_of(await exposition.text())
    assert (catalogue.VM_NEVER.name, (("name", "db"), ("namespace", "shop"))) in leader
    assert leader.keys() > standby.keys()
