"""Backups and chains are followed without keeping them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import NAMESPACE, stamp

from sendense_operator.api.v1alpha1 import names
from sendense_operator.controller.bulk_watch import ObservedObject, Waker, read
from sendense_operator.controller.handlers import SETTLE_S, keys_of_backup, keys_of_chain, settling_s
from sendense_operator.controller.pacing import Pacer
from sendense_operator.reconcile.state.keys import Key, Work

MANY = 10_000
CHAIN = Key(Work.CHAIN, NAMESPACE, "db/store")
WAKE = Key(Work.WAKE, NAMESPACE)


def seen(obj: Obj) -> ObservedObject:
    return read(keys_of_backup, settling_s, obj)


def over(name: str, **meta: object) -> Obj:
    """Return a Backup that is over and tidied up."""
    obj = sample.backup(name, {"phase": "Completed", "completionTime": stamp(), "observedGeneration": 1})
    held = {"labels": {names.LABEL_PHASE: "Completed"}, "finalizers": [names.FINALIZER_RESTORE_POINT], "generation": 1}
    return {**obj, "metadata": {**obj["metadata"], **held, **meta}}


class Queue:
    """What was added."""

    def __init__(self) -> None:
        self.added: list[tuple[Key, float]] = []

    def add(self, key: Key, delay: float) -> None:
        self.added.append((key, delay))

    def take(self) -> list[tuple[Key, float]]:
        taken, self.added = self.added, []
        return taken


def test_from_the_list_to_the_deletion() -> None:
    queue = Queue()
    waker = Waker(queue.add, Pacer(lambda: 0.0))
    waker.replace([seen(over("b1")), seen(sample.backup("b2"))], None)
    assert queue.take() == [(CHAIN, SETTLE_S), (Key(Work.BACKUP, NAMESPACE, "b2"), 0.0)]
    waker.put(seen(over("b1")))
    assert queue.take() == [(CHAIN, 0.0)]
    assert waker.remove(over("b1")["metadata"]["uid"])
    assert queue.take() == [(CHAIN, 0.0), (WAKE, 0.0)]
    assert not waker.remove("unknown")


def test_what_a_fresh_list_misses_was_deleted() -> None:
    queue = Queue()
    waker = Waker(queue.add, Pacer(lambda: 0.0))
    elsewhere = over("b3", namespace="elsewhere", uid="u3")
    waker.replace([seen(over("b1")), seen(sample.backup("b2")), seen(elsewhere)], None)
    queue.take()
    waker.replace([seen(over("b1"))], NAMESPACE)
    assert queue.take() == [(CHAIN, SETTLE_S), (CHAIN, 0.0), (WAKE, 0.0)]
    assert len(waker) == 2


def test_own_status_of_a_chain_is_no_reason_to_look_again() -> None:
    queue = Queue()
    waker = Waker(queue.add, Pacer(lambda: 0.0))
    spec = {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}}
    chain = sample.custom("BackupChain", "c1", spec, {"observedGeneration": 1})
    chain["metadata"]["generation"] = 1
    for expected in ([(CHAIN, 0.0)], []):
        waker.put(read(keys_of_chain, lambda *_: 0.0, chain))
        assert queue.take() == expected


def test_ten_thousand_backups_take_few_bytes() -> None:
    def listed() -> Iterator[ObservedObject]:
        for number in range(MANY):
            yield seen(over(f"b{number}", uid=f"0b7ec3de-5ced-462b-9912-{number:012}"))

    waker = Waker(lambda key, delay: None)
    tracemalloc.start()
    try:
        waker.replace(listed(), None)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(waker) == MANY
    assert kept / MANY < 700
    assert most < kept + (2 << 20)
