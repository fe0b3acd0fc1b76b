"""Thousands of objects: what a look at all of them costs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import sample
from tests.support.sample import NAMESPACE, stamp
from tests.wiring.rig import Rig

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.cluster.listing import collect
from sendense_operator.reconcile.catalogue import known_backup
from sendense_operator.reconcile.keys import Key, Work
from sendense_operator.reconcile.reconciler import Reconciler

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
    reconcile = Reconciler(rig.controller.ctx)
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
    assert scan[0] / MANY < 2 * 1024
