"""Thousands of objects: what a check of all of them costs."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
from tests.support import sample
from tests.support.sample import NAMESPACE, stamp
from tests.wiring.rig import Rig

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.cluster.listing import collect
from sendense_operator.reconcile.backups import start_queue
from sendense_operator.reconcile.backups.admission_rules import decide_queue
from sendense_operator.reconcile.backups.backup_reconciler import reconcile_backup
from sendense_operator.reconcile.backups.backup_status import WORDS_S
from sendense_operator.reconcile.catalogue.known_backups import known_backup
from sendense_operator.reconcile.dispatch import Reconciler
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.state.queue_records import AdmissionDecision, Candidate, RunningJob

MANY = 2000
MIB = 1 << 20


def fill(rig: Rig) -> None:
    """Backups that are over, of some 10 KiB each."""
    disks = [{"id": n, "key": 2000 + n, "virtualSize": 1, "file": f"shop/db/disk-{n}/{'x' * 900}"} for n in range(10)]
    for number in range(MANY):
        obj = sample.backup(f"b{number}", {"phase": "Completed", "completionTime": stamp(), "disks": disks})
        held = {"labels": {names.LABEL_PHASE: "Completed"}, "finalizers": [names.FINALIZER_RESTORE_POINT]}
        rig.world.cluster.put(kinds.BACKUP, {**obj, "metadata": {**obj["metadata"], **held}})


@contextmanager
def peak() -> Iterator[list[int]]:
    """Bytes that were taken at most and not yet given back, in a list of one when it is over."""
    found: list[int] = []
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


async def test_a_look_at_all_backups_keeps_little_of_each() -> None:
    rig = Rig()
    fill(rig)
    looked: list[Key] = []
    rig.controller.ctx.enqueue = lambda key, delay: looked.append(key)
    reconcile = Reconciler(rig.controller.ctx, rig.controller.protection)
    rig.world.cluster.begin_deletion(kinds.BACKUP, rig.backup("b7"))
    with peak() as whole:
        everything = await rig.world.cluster.list_objects(kinds.BACKUP, None)
    assert len(everything) == MANY
    del everything
    with peak() as resync:
        await reconcile(Key(Work.RESYNC))
    assert looked == [Key(Work.BACKUP, NAMESPACE, "b7")]
    with peak() as scan:
        known = await collect(rig.world.cluster, kinds.BACKUP, NAMESPACE, known_backup)
    assert len(known) == MANY
    assert max(resync[0], scan[0]) < whole[0] / 5, (resync, scan, whole)
    assert scan[0] / MANY < 2 * 1024, scan


async def test_a_long_queue_is_decided_on_once_and_says_so_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    rig, waiting = Rig(), 150
    rig.create_references(maxConcurrentBackups=1)
    rig.vma.vms = [f"vm{number}" for number in range(waiting)]
    for number in range(waiting):
        rig.create(kinds.PROTECTED_VM, sample.protected_vm(f"vm{number}"))
        rig.create_backup(f"b{number:03}", vm=f"vm{number}")
    await rig.run(lambda: list(rig.reasons().values()).count("WaitingForSlot") == waiting - 1, seconds=60)
    await rig.settle(seconds=2)
    decided: list[Candidate] = []

    def decide(queue: Iterable[Candidate], running: Iterable[RunningJob]) -> list[AdmissionDecision]:
        decided.extend(candidates := list(queue))
        return decide_queue(candidates, running)

    monkeypatch.setattr(start_queue, "decide_queue", decide)
    monkeypatch.setattr(start_queue, "decide_admission", lambda *_: pytest.fail("decided on by itself"))
    rig.controller.ctx.snapshots.clear()
    for name in rig.phases():
        await reconcile_backup(rig.controller.ctx, NAMESPACE, name)
    assert len(decided) == waiting - 1, "once for all, whoever looks"


async def test_a_start_does_not_make_all_who_wait_write() -> None:
    rig, waiting = Rig(), 40
    rig.create_references(maxConcurrentBackups=1)
    rig.vma.vms = [f"vm{number}" for number in range(waiting)]
    for number in range(waiting):
        rig.create(kinds.PROTECTED_VM, sample.protected_vm(f"vm{number}"))
        rig.create_backup(f"b{number:02}", vm=f"vm{number}")
    await rig.run(lambda: list(rig.reasons().values()).count("WaitingForSlot") == waiting - 1, seconds=60)
    begin, started = rig.world.clock.seconds, len(rig.world.started)
    await rig.settle(seconds=180)
    assert len(rig.world.started) - started >= 8
    reported = [s for s in rig.world.cluster.history if s["at"] > begin and s["phase"] == "Pending"]
    last = [s["at"] for s in reported if s["name"] == f"b{waiting - 1}"]
    assert 4 <= len(last) <= 180 / WORDS_S + 1
    assert min(later - earlier for earlier, later in itertools.pairwise(last)) >= WORDS_S
