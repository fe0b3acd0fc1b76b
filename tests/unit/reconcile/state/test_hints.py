"""What is remembered between reconciles, and what one of them leaves for another."""

from __future__ import annotations

from sendense_operator.answer import Capacity
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.hints import RepositoryMessages
from sendense_operator.reconcile.state.recent import Recent, count_up

STORE = ObjectKey("shop", "store")
OTHER = ObjectKey("lab", "store")


def test_only_so_much_is_remembered() -> None:
    recent: Recent[str, int] = Recent(limit=2)
    for number, key in enumerate("abac"):
        recent.put(key, number)
    assert [recent.get(key) for key in "abc"] == [2, None, 3]
    assert recent.pop("a") == 2
    assert recent.pop("a") is None


def test_failures_are_counted_by_key() -> None:
    failures: Recent[ObjectKey, int] = Recent()
    assert [count_up(failures, key) for key in (STORE, OTHER, STORE)] == [1, 1, 2]
    failures.pop(STORE)
    assert count_up(failures, STORE) == 1


def test_a_request_stays_until_it_is_withdrawn() -> None:
    messages = RepositoryMessages()
    assert [messages.request_scan(key) for key in (STORE, STORE, OTHER)] == [True, False, True]
    messages.request_probe(STORE)
    messages.withdraw_scan_request(STORE)
    messages.withdraw_scan_request(STORE)
    assert [messages.is_scan_requested(key) for key in (STORE, OTHER)] == [False, True]
    assert [messages.is_probe_requested(key) for key in (STORE, OTHER)] == [True, False]
    messages.withdraw_probe_request(STORE)
    assert not messages.is_probe_requested(STORE)


def test_a_capacity_is_taken_once() -> None:
    messages, capacity = RepositoryMessages(), Capacity(total=10, free=5)
    messages.report_capacity(STORE, capacity)
    assert messages.has_capacity(STORE)
    assert [messages.take_capacity(STORE), messages.take_capacity(STORE)] == [capacity, None]
    assert not messages.has_capacity(STORE)
