"""Whether restore points are recent enough, and at what cost that is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sendense_operator.api.v1alpha1.backuppolicy import MAX_LATE_VMS, Schedule
from sendense_operator.reconcile.policies.objective_summary import summarize_objective
from sendense_operator.reconcile.protection.chain_index import ChainEntry, ChainIndex
from sendense_operator.reconcile.protection.objective import Objective, ObjectiveReason, assess, describe
from sendense_operator.reconcile.protection.selection import PolicyEntry, Selection, VMEntry, ruling_policies
from sendense_operator.reconcile.protection.vm_objectives import describe_protection
from sendense_operator.reconcile.state.keys import ChainKey

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def objective(*, suspended: bool = False) -> Objective:
    return Objective("nightly", "store", DAY, suspended)


def chain(
    age: timedelta | None, *, vm: str = "db", repository: str = "store", damaged: bool = False, uid: str = ""
) -> ChainEntry:
    backup = f"b-{repository}" if age is not None else None
    time = NOW - age if age is not None else None
    return ChainEntry(uid or f"{vm}-{repository}", "shop", ChainKey(vm, repository), backup, time, damaged)


def policy(name: str, *, repository: str = "store", max_age: timedelta | None = DAY, age: int = 0) -> PolicyEntry:
    refs = frozenset({"db"})
    begin = NOW - timedelta(days=100, seconds=age)
    return PolicyEntry(f"uid-{name}", "shop", name, begin, 1, None, refs, repository, max_age=max_age)


@pytest.mark.parametrize(
    ("known", "suspended", "reason"),
    [
        (None, False, ObjectiveReason.NEVER),
        (None, True, ObjectiveReason.SUSPENDED),
        (chain(None), False, ObjectiveReason.NEVER),
        (chain(None, damaged=True), False, ObjectiveReason.DAMAGED),
        (chain(DAY - timedelta(seconds=1)), False, ObjectiveReason.WITHIN),
        (chain(DAY - timedelta(seconds=1)), True, ObjectiveReason.WITHIN),
        (chain(DAY - timedelta(seconds=1), damaged=True), False, ObjectiveReason.WITHIN),
        (chain(DAY), False, ObjectiveReason.TOO_OLD),
        (chain(DAY), True, ObjectiveReason.SUSPENDED),
        (chain(DAY, damaged=True), False, ObjectiveReason.DAMAGED),
        (chain(-DAY), False, ObjectiveReason.WITHIN),
    ],
)
def test_reasons(known: ChainEntry | None, suspended: bool, reason: ObjectiveReason) -> None:
    found = assess("db", objective(suspended=suspended), known, NOW)
    assert found.reason is reason
    assert (found.until is not None) == found.is_within
    assert "nightly" in describe(found)
    assert found.is_within or "Create a Backup" in describe(found) or "create a Backup" in describe(found)


def test_it_changes_when_the_point_becomes_too_old() -> None:
    known = chain(DAY / 2)
    until = assess("db", objective(), known, NOW).until
    assert until == NOW + DAY / 2
    assert not assess("db", objective(), known, until).is_within


def test_the_message_does_not_change_with_time() -> None:
    known = chain(2 * DAY)
    later = [describe(assess("db", objective(), known, NOW + step * DAY)) for step in range(3)]
    assert len(set(later)) == 1


def test_the_newest_of_all_repositories_and_the_strictest_policy() -> None:
    rulers = [policy("a", max_age=None, repository="r1"), policy("b"), policy("c", repository="r2", max_age=DAY / 2)]
    chains = [chain(DAY / 4), chain(DAY, repository="r2"), chain(DAY / 8, repository="elsewhere")]
    found = describe_protection("db", rulers, chains, vanished=False, now=NOW)
    assert (found.backup, found.time) == ("b-elsewhere", NOW - DAY / 8)
    assert (found.policy, found.holds, found.reason) == ("c", False, ObjectiveReason.TOO_OLD)
    assert found.changes == NOW + DAY * 3 / 4


def test_a_vanished_vm_waits_for_nothing() -> None:
    hourly = replace(policy("a"), schedules=(Schedule(name="hourly", cron="0 * * * *"),))
    found = describe_protection("db", [hourly], [chain(DAY / 4)], vanished=True, now=NOW)
    assert (found.holds, found.reason, found.changes, found.next_time) == (None, ObjectiveReason.VANISHED, None, None)
    there = describe_protection("db", [hourly], [chain(DAY / 4)], vanished=False, now=NOW)
    assert there.next_time == there.changes == NOW + timedelta(hours=1)


def test_one_policy_per_repository_rules() -> None:
    policies = [policy("young"), policy("old", age=5), policy("other", repository="r2")]
    vm = VMEntry("u", "shop", "db", {}, gone=False)
    assert [one.name for one in ruling_policies(vm, policies)] == ["old", "other"]


def test_the_worst_come_first() -> None:
    ages: dict[str, timedelta | None] = {f"vm{number:02}": (number + 1) * DAY for number in range(30)}
    ages |= {"fresh": DAY / 2, "never": None}
    chains = {vm: chain(age, vm=vm) for vm, age in ages.items() if age is not None}
    selection = Selection(tuple(sorted(ages)), {}, (), ("gone",))
    found = summarize_objective(policy("nightly"), selection, chains.get, NOW)
    assert found is not None
    assert (found.status.vms, found.status.within, found.status.summary) == (32, 1, "1/32")
    assert len(found.status.worst) == MAX_LATE_VMS
    assert [one.vm for one in found.status.worst[:3]] == ["never", "vm29", "vm28"]
    assert found.changes == NOW + DAY / 2


def test_a_policy_reads_the_chains_of_its_own_vms_only() -> None:
    """Of 1,000 policies with 10 VMs each; a check of one must not touch the others' chains."""
    asked = list[str]()
    index = ChainIndex(lambda entry: None)
    index.replace((chain(DAY / 2, vm=f"vm{number}") for number in range(10_000)), None)

    def find(vm: str) -> ChainEntry | None:
        asked.append(vm)
        return index.find("shop", ChainKey(vm, "store"))

    vms = tuple(f"vm{number}" for number in range(500, 510))
    found = summarize_objective(policy("nightly"), Selection(vms, {}, (), ()), find, NOW)
    assert found is not None
    assert (found.status.within, asked) == (10, list(vms))


def test_the_index_reports_changes_and_only_those() -> None:
    changed = list[ChainEntry]()
    index = ChainIndex(changed.append)
    first = chain(DAY)
    assert [index.put(first), index.put(chain(DAY)), index.put(chain(DAY / 2))] == [True, False, True]
    assert len(changed) == 2
    assert index.find("shop", first.key) == chain(DAY / 2)
    again = chain(None, uid="another")
    index.put(again)
    assert index.remove(first.uid), "the old object of the name goes after the new one has come"
    assert index.of_vm("shop", "db") == [again]
    index.replace([], "elsewhere")
    assert index.of_vm("shop", "db") == [again]
    index.replace([], "shop")
    assert index.of_vm("shop", "db") == []
    assert not index.remove("unknown")
