"""An appliance that does not answer: it holds up few, is left alone once that is known, and all goes on afterwards."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest
from tests.support import sample
from tests.support.sample import NAMESPACE
from tests.wiring.fakevma import FakeVMA
from tests.wiring.rig import Rig

from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import UnavailableError
from sendense_operator.reconcile.backups.backup_reconciler import reconcile_backup
from sendense_operator.reconcile.state.appliance_limiter import AT_A_TIME
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.vcenter.vm_reconciler import reconcile_vm
from sendense_operator.vma.credentials import Credentials
from sendense_operator.vma.errors import VMAError, VMAGarbage, VMAUnreachable
from sendense_operator.vma.messages import Inventory


class SlowVMA(FakeVMA):
    """Its vCenter does not answer before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()
        self.begun = asyncio.Semaphore(0)
        """Grows with each call that waits."""

    async def discover(
        self, credentials: Credentials, vcenter: str, datacenter: str, name_filter: str = ""
    ) -> Inventory:
        self.begun.release()
        await self.may.wait()
        return await super().discover(credentials, vcenter, datacenter, name_filter)


async def silent(vms: int) -> tuple[Rig, SlowVMA]:
    """Return an appliance that was well a moment ago, and new VMs on it."""
    rig, vma = Rig(), SlowVMA()
    rig.controller.ctx.connect = lambda url, ca_bundle, timeout: vma
    rig.create_references()
    rig.world.cluster.remove(kinds.PROTECTED_VM, rig.world.cluster.one(kinds.PROTECTED_VM, "db"))
    await rig.run(
        lambda: rig.is_ready(kinds.APPLIANCE, "vma") and rig.is_ready(kinds.BACKUP_REPOSITORY, "store"), seconds=60
    )
    vma.vms = [f"vm{number}" for number in range(vms)]
    for name in vma.vms:
        rig.create(kinds.PROTECTED_VM, sample.protected_vm(name))
    return rig, vma


async def begin(vma: SlowVMA, held: int, looks: list[Coroutine[Any, Any, Any]]) -> list[asyncio.Task[Any]]:
    """Begin the looks, until so many of them hang and all others are done. Those that hang."""
    tasks = [asyncio.ensure_future(look) for look in looks]
    async with asyncio.timeout(10):
        for ended in itertools.islice(asyncio.as_completed(tasks), len(tasks) - held):
            await ended
        for _ in range(held):
            await vma.begun.acquire()
    assert vma.begun.locked(), "no more than these"
    return [task for task in tasks if not task.done()]


async def test_few_workers_are_held_and_every_vm_is_looked_at_in_the_end() -> None:
    rig, vma = await silent(vms=20)
    ctx = rig.controller.ctx
    held = await begin(vma, AT_A_TIME, [reconcile_vm(ctx, NAMESPACE, name) for name in vma.vms])
    assert len(held) == AT_A_TIME
    called: list[Key] = []
    ctx.enqueue = lambda key, delay: called.append(key)
    vma.may.set()
    await asyncio.gather(*held)
    while called:
        key = called.pop(0)
        if key.work is Work.VM:
            await reconcile_vm(ctx, NAMESPACE, key.name)
    assert all(rig.is_ready(kinds.PROTECTED_VM, name) for name in vma.vms)
    assert sorted(vma.asked) == sorted([f"DC1 {name}" for name in vma.vms] + [f"/DC1/vm/{name}" for name in vma.vms])
    assert ctx.turns.is_idle


async def test_many_backups_of_one_vm_hold_one_worker_and_say_what_they_wait_for() -> None:
    rig, vma = await silent(vms=1)
    names = [f"b{number}" for number in range(10)]
    for name in names:
        rig.create_backup(name, vm="vm0")
    held = await begin(vma, 1, [reconcile_backup(rig.controller.ctx, NAMESPACE, name) for name in names])
    assert len(held) == 1
    assert sorted(rig.reasons().values()) == ["Accepted"] + ["WaitingForAppliance"] * 9
    vma.may.set()
    await asyncio.gather(*held)
    await rig.run(lambda: "ChainBusy" in rig.reasons().values(), seconds=5)
    assert vma.asked.count("DC1 vm0") == 1


@pytest.mark.parametrize("error", [VMAUnreachable("health: timed out"), VMAGarbage("health: no JSON")])
async def test_one_that_is_known_to_be_away_is_not_asked(error: VMAError) -> None:
    rig = Rig()
    rig.create_references()
    await rig.run(lambda: rig.is_ready(kinds.PROTECTED_VM, "db"))
    rig.vma.error = error
    await rig.run(lambda: not rig.is_ready(kinds.APPLIANCE, "vma"), seconds=120)
    rig.vma.asked.clear()
    for number in range(20):
        rig.create(kinds.PROTECTED_VM, sample.protected_vm(f"vm{number}"))
    rig.edit(kinds.PROTECTED_VM, "db", discoveryIntervalSeconds=60)
    await rig.settle(seconds=900)
    vms = [vm["metadata"]["name"] for vm in rig.world.cluster.all(kinds.PROTECTED_VM)]
    assert not any(rig.is_ready(kinds.PROTECTED_VM, name) for name in vms)
    assert "health:" in rig.world.cluster.one(kinds.PROTECTED_VM, "vm7")["status"]["conditions"][0]["message"]
    assert rig.vma.asked == []
    rig.vma.error = None
    await rig.run(lambda: all(rig.is_ready(kinds.PROTECTED_VM, name) for name in vms), seconds=70)


async def test_what_was_found_and_could_not_be_written_is_written_later() -> None:
    rig = Rig()
    rig.create_references()
    down = UnavailableError("API server: TimeoutError")
    rig.world.cluster.failing = lambda verb, kind: down if (verb, kind) == ("apply", kinds.PROTECTED_VM) else None
    await rig.run(lambda: rig.vma.asked, seconds=30)
    rig.world.cluster.failing = lambda verb, kind: None
    await rig.run(lambda: rig.is_ready(kinds.PROTECTED_VM, "db"), seconds=40)
    assert rig.vma.asked.count("DC1 db") == 1
