"""The stores of records, as a Mirror fills them."""

from __future__ import annotations

from dataclasses import dataclass

from sendense_operator.controller.metrics.state_records import RecordStore


@dataclass(frozen=True)
class One:
    uid: str
    namespace: str = "a"
    value: int = 0


def test_put_and_remove() -> None:
    store = RecordStore[One]()
    assert store.put(One("1"))
    assert not store.put(One("1"))
    assert store.put(One("1", value=2))
    assert store.all() == [One("1", value=2)]
    assert store.remove("1")
    assert not store.remove("1")
    assert len(store) == 0


def test_a_fresh_list_of_one_namespace_leaves_the_others() -> None:
    store = RecordStore[One]()
    store.replace([One("1"), One("2"), One("3", "b")], None)
    store.replace([One("2", value=5)], "a")
    assert sorted(store.all(), key=lambda one: one.uid) == [One("2", value=5), One("3", "b")]
    store.replace([], None)
    assert store.all() == []
