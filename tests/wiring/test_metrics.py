"""Metrics are what the objects are: the same after each restart, and gone with their object."""

from __future__ import annotations

from tests.support.metricsamples import samples_of, series_of
from tests.support.objects import Obj
from tests.wiring.ending import Ending
from tests.wiring.rig import Rig
from tests.wiring.test_incrementals import run
from tests.wiring.test_objective import add_policy, vanish

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.cluster import kinds
from sendense_operator.cluster.kinds import Kind
from sendense_operator.controller.metrics.exposition import state_text
from sendense_operator.metric_catalogue import Metric

DB = ("db", "shop")


def scraped(rig: Rig) -> bytes:
    return state_text(rig.controller.state.snapshot())


def value_of(rig: Rig, metric: Metric) -> float | None:
    return series_of(scraped(rig), metric.name).get(DB)


async def protected_rig() -> Rig:
    """Return a world with a policy, a restore point and a failure after it."""
    rig = Rig()
    rig.create_references()
    add_policy(rig)
    await run(rig, "b1")
    rig.world.endings["b2"] = [Ending.FATAL]
    rig.create_backup("b2")
    await rig.run(lambda: rig.is_over("b2"), seconds=2000)
    await rig.settle()
    return rig


def remove(rig: Rig, kind: Kind, name: str) -> None:
    obj: Obj = rig.world.cluster.one(kind, name)
    rig.world.cluster.remove(kind, obj)


async def test_a_vm_from_its_creation_to_a_restore_point() -> None:
    rig = Rig()
    rig.create_references()
    add_policy(rig)
    await rig.settle()
    assert value_of(rig, catalogue.VM_NEVER) == 1
    assert value_of(rig, catalogue.VM_OBJECTIVE) == 3600
    started = rig.world.clock.now().timestamp()
    await run(rig, "b1")
    await rig.settle()
    newest = value_of(rig, catalogue.VM_NEWEST_POINT)
    assert newest is not None
    assert started <= newest <= rig.world.clock.now().timestamp()
    assert value_of(rig, catalogue.VM_NEVER) is None
    assert (value_of(rig, catalogue.VM_LAST_STORED) or 0) > 0
    assert (value_of(rig, catalogue.VM_LAST_DURATION) or 0) > 0


async def test_a_failure_counts_until_the_next_restore_point() -> None:
    rig = await protected_rig()
    assert rig.phase("b2") == "Failed"
    assert value_of(rig, catalogue.VM_FAILURES) == 1
    await run(rig, "b3")
    await rig.settle()
    assert value_of(rig, catalogue.VM_FAILURES) == 0


async def test_a_restart_changes_no_series() -> None:
    rig = await protected_rig()
    before = samples_of(scraped(rig))
    assert len(before) > 30
    rig.restart()
    assert samples_of(scraped(rig)) == before, "from the first list on"
    await rig.controller.work()
    again = samples_of(scraped(rig))
    assert again.keys() == before.keys()


async def test_series_go_with_their_object() -> None:
    rig = await protected_rig()
    for kind, name, beginning in (
        (kinds.BACKUP_POLICY, "nightly", "sendense_backuppolicy_"),
        (kinds.PROTECTED_VM, "db", "sendense_protectedvm_"),
        (kinds.BACKUP_CHAIN, rig.chain()["metadata"]["name"], "sendense_backupchain_"),
        (kinds.APPLIANCE, "vma", "sendense_vmwareappliance_"),
        (kinds.BACKUP_REPOSITORY, "store", "sendense_backuprepository_"),
    ):
        assert [sample for sample, _ in samples_of(scraped(rig)) if sample.startswith(beginning)], kind
        remove(rig, kind, name)
        assert [sample for sample, _ in samples_of(scraped(rig)) if sample.startswith(beginning)] == [], kind
    for name in ("b1", "b2"):
        remove(rig, kinds.BACKUP, name)
    assert samples_of(scraped(rig)) == {}


async def test_a_vm_that_vanished() -> None:
    rig = await protected_rig()
    assert value_of(rig, catalogue.VM_VANISHED) is None
    vanish(rig)
    await rig.settle(seconds=10)
    assert value_of(rig, catalogue.VM_VANISHED) == 1
    protection = series_of(scraped(rig), catalogue.VM_PROTECTION.name)
    assert protection == {(*DB, "Vanished"): -1}
    assert value_of(rig, catalogue.VM_NEWEST_POINT) is not None, "its restore points stay"
