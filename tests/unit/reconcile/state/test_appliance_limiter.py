"""Whose turn it is to ask an appliance: few at a time, nobody twice, and nobody is forgotten."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.reconcile.state.appliance_limiter import ApplianceLimiter
from sendense_operator.reconcile.state.keys import Key, Work


def vm(name: object) -> Key:
    return Key(Work.VM, "shop", str(name))


def backup(name: object) -> Key:
    return Key(Work.BACKUP, "shop", str(name))


class Bench:
    """Turns, and who has one."""

    def __init__(self, at_a_time: int = 2) -> None:
        self.called: list[Key] = []
        self.turns = ApplianceLimiter(self.called.append, at_a_time)
        self.asking: dict[Key, tuple[str, str, Any]] = {}

    def come(self, key: Key, wanted: str, appliance: str = "vma") -> bool:
        turn = self.turns.turn(appliance, wanted, key)
        granted = turn.__enter__()
        if granted:
            self.asking[key] = (appliance, wanted, turn)
        else:
            turn.__exit__(None, None, None)
        return granted

    def go(self, key: Key) -> None:
        _, _, turn = self.asking.pop(key)
        turn.__exit__(None, None, None)


def test_so_many_at_a_time_and_the_others_in_their_order() -> None:
    bench = Bench()
    assert [bench.come(vm(number), str(number)) for number in range(5)] == [True, True, False, False, False]
    bench.go(vm(0))
    assert bench.called == [vm(2)]
    assert bench.come(vm(2), "2")
    assert not bench.come(vm(4), "4")
    bench.go(vm(2))
    assert bench.called == [vm(2), vm(3)]


def test_an_appliance_does_not_wait_for_another() -> None:
    bench = Bench()
    assert [bench.come(vm(number), str(number)) for number in range(3)] == [True, True, False]
    assert bench.come(vm(9), "9", "other")


def test_a_vm_is_requested_by_one_and_all_others_hear_of_it() -> None:
    bench = Bench(at_a_time=4)
    assert [bench.come(backup(number), "db") for number in range(6)] == [True] + [False] * 5
    bench.go(backup(0))
    assert bench.called == [backup(number) for number in range(1, 6)]


def test_a_backup_goes_before_routine() -> None:
    bench = Bench(at_a_time=1)
    for key in (vm(0), vm(1), backup(2), vm(3)):
        bench.come(key, key.name)
    bench.go(vm(0))
    assert bench.called[0] == backup(2)


def test_an_error_ends_a_turn() -> None:
    turns = ApplianceLimiter(lambda key: None, 1)
    with pytest.raises(RuntimeError), turns.turn("vma", "db", vm("db")):
        raise RuntimeError
    with turns.turn("vma", "db", vm("db")) as granted:
        assert granted
    assert turns.is_idle


moves = st.tuples(st.integers(0, 11), st.sampled_from("ab"), st.booleans())


@given(st.lists(moves, max_size=60), st.integers(1, 3))
def test_whoever_is_sent_away_is_called(history: list[tuple[int, str, bool]], at_a_time: int) -> None:
    bench = Bench(at_a_time)
    waiting: set[Key] = set()
    for number, appliance, comes in history:
        key = vm(f"{appliance}{number}")
        if comes and key not in bench.asking:
            (waiting.discard if bench.come(key, f"{appliance}{number % 4}", appliance) else waiting.add)(key)
        elif key in bench.asking:
            bench.go(key)
        asked = [(where, wanted) for where, wanted, _ in bench.asking.values()]
        assert len(asked) == len(set(asked)), "one VM is asked for once"
        assert all([where for where, _ in asked].count(name) <= at_a_time for name in "ab")
        waiting -= set(bench.called)
        bench.called.clear()
        assert all(any(where == key.name[0] for where, _ in asked) for key in waiting), "somebody is left to call them"
    for key in list(bench.asking):
        bench.go(key)
    assert waiting <= set(bench.called)
    assert bench.turns.is_idle


def test_nothing_is_kept_of_those_who_were_served() -> None:
    bench = Bench(at_a_time=2)
    with ExitStack() as stack:
        for number in range(10):
            stack.enter_context(bench.turns.turn("vma", str(number), vm(number)))
    assert bench.turns.is_idle
