"""What is checked again when a policy or its VMs change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support.sample import NAMESPACE, NOON

from sendense_operator.api.v1alpha1.backuppolicy import Retention
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.policies.ruled_vms import RuledVMs
from sendense_operator.reconcile.protection.protection_index import ProtectionIndex
from sendense_operator.reconcile.protection.selection import PolicyEntry, Selection
from sendense_operator.reconcile.state.keys import Work

POLICY = ObjectKey(NAMESPACE, "nightly")
ENTRY = PolicyEntry("u", NAMESPACE, "nightly", NOON, 1, repository="store", retention=Retention(keep_last=3))


class Checked:
    """Stands for the context: keeps what is to be checked again."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def again(self, key: Any) -> None:
        self.keys.append(f"{key.work.value} {key.name}")

    def take(self, work: Work) -> list[str]:
        found = [key.partition(" ")[2] for key in self.keys if key.startswith(f"{work.value} ")]
        return sorted(found)


def rig(entry: PolicyEntry | None = ENTRY) -> tuple[RuledVMs, ProtectionIndex, Checked]:
    checked = Checked()
    index = ProtectionIndex(lambda key, delay: None, lambda: True)
    if entry is not None:
        index.policies.put(entry)
    ctx: Any = checked
    return RuledVMs(ctx, index), index, checked


def select(*vms: str, gone: tuple[str, ...] = ()) -> Selection:
    return Selection(vms, {}, (), gone)


def test_only_what_changed_is_checked() -> None:
    ruled, _, checked = rig()
    ruled.update(POLICY, select("a", "b", gone=("old",)))
    assert checked.take(Work.PROTECTION) == ["a", "b"]
    assert checked.take(Work.CHAIN) == ["a/store", "b/store", "old/store"]
    checked.keys.clear()
    ruled.update(POLICY, select("a", "b", gone=("old",)))
    assert checked.keys == []
    ruled.update(POLICY, select("a", "c", gone=("old",)))
    assert (checked.take(Work.PROTECTION), checked.take(Work.CHAIN)) == (["b", "c"], ["b/store", "c/store"])


def test_rules_that_the_watch_reports_late_are_not_missed() -> None:
    """The policy is checked with its new rules, its chains by the index: they are checked when that has them, too."""
    ruled, index, checked = rig()
    ruled.update(POLICY, select("a"))
    checked.keys.clear()
    ruled.update(POLICY, select("a"))  # with other rules, which the index does not have yet
    assert checked.keys == []
    index.policies.put(replace(ENTRY, generation=2, retention=Retention(keep_last=1)))
    ruled.update(POLICY, select("a"))
    assert (checked.take(Work.PROTECTION), checked.take(Work.CHAIN)) == (["a"], ["a/store"])


def test_what_its_chains_do_not_depend_on_checks_no_chain() -> None:
    ruled, index, checked = rig()
    ruled.update(POLICY, select("a"))
    checked.keys.clear()
    index.policies.put(replace(ENTRY, generation=2))
    ruled.update(POLICY, select("a"))
    assert (checked.take(Work.PROTECTION), checked.take(Work.CHAIN)) == (["a"], [])


def test_a_policy_that_is_gone() -> None:
    ruled, index, checked = rig()
    ruled.update(POLICY, select("a"))
    checked.keys.clear()
    index.policies.remove("u")
    ruled.forget_missing(NAMESPACE)
    assert (checked.take(Work.PROTECTION), checked.take(Work.CHAIN)) == (["a"], ["a/store"])
    checked.keys.clear()
    ruled.forget_missing(NAMESPACE)
    assert checked.keys == []
