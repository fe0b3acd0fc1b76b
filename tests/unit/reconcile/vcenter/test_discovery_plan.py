"""VMs of vCenter against the ProtectedVMs that are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import vm_uuid

from sendense_operator.api.v1alpha1.names import ANNOTATION_DISCOVERY_LABELS, LABEL_DISCOVERED_BY, is_object_name
from sendense_operator.reconcile.state.discovery_records import DiscoveryPlan, KnownVM
from sendense_operator.reconcile.vcenter.discovery_plan import decide_plan, known_of
from sendense_operator.vma.messages import BrokenVM, Inventory, InventoryVM

VCENTER = "vcenter.example"


def vm(path: str, number: int | None = None, name: str = "") -> InventoryVM:
    return InventoryVM(
        id=vm_uuid(number) if number else "", name=name or path.rpartition("/")[2], path=f"/DC1/vm/{path}"
    )


def made(name: str, path: str, number: int | None = None, *, appliance: str = "vma") -> Obj:
    """As a discovery makes it."""
    spec: Obj = {"path": f"/DC1/vm/{path}", "applianceRef": {"name": appliance}}
    spec |= {"uuid": vm_uuid(number)} if number else {}
    obj = sample.protected_vm(name, **spec)
    obj["metadata"]["labels"] = {LABEL_DISCOVERED_BY: appliance}
    return obj


def by_hand(name: str, path: str, number: int | None = None, **spec: Any) -> Obj:
    """With the UUID that was found there before."""
    status = sample.ready_status(uuid=vm_uuid(number), observedGeneration=1) if number else None
    return sample.protected_vm(name, status, path=f"/DC1/vm/{path}", **spec)


def plan(
    vms: Sequence[InventoryVM], *objects: Obj, broken: Sequence[str] = (), datacenter: str = "DC1", **more: Any
) -> DiscoveryPlan:
    known = [known_of(obj, "vma") for obj in objects]
    unread = tuple(BrokenVM(id=vm_uuid(1), path=f"/DC1/vm/{path}", message="bad") for path in broken)
    taken = more.pop("taken", {one.name for one in known})
    inventories = {datacenter: Inventory(vms=tuple(vms), broken=unread)}
    return decide_plan(inventories, known, more.pop("rule", lambda _: True), vcenter=VCENTER, taken=taken, **more)


def created(found: DiscoveryPlan) -> list[str]:
    return [one.seen.vm.path.removeprefix("/DC1/vm/") for one in found.creations]


def moved(found: DiscoveryPlan) -> dict[str, str]:
    return {one.known.name: one.seen.vm.path.removeprefix("/DC1/vm/") for one in found.moves}


def gone(found: DiscoveryPlan) -> list[str]:
    return [one.name for one in found.vanished]


def names(found: Sequence[KnownVM]) -> list[str]:
    return [one.name for one in found]


def test_each_vm_that_is_requested_gets_one() -> None:
    found = plan([vm("db", 1), vm("web", 2), vm("other", 3)], rule=lambda one: one.name != "other")
    assert (found.vms, found.matched, created(found)) == (3, 2, ["db", "web"])


def test_who_has_one_gets_no_other() -> None:
    found = plan([vm("db", 1), vm("web", 2)], made("a", "db", 1), by_hand("b", "web"))
    assert (created(found), moved(found), gone(found)) == ([], {}, [])
    assert [one.name for one, _ in found.present] == ["a", "b"]


def test_one_of_another_appliance_of_the_same_vcenter_counts_but_is_left_alone() -> None:
    found = plan([vm("db2", 1)], made("a", "db", 1, appliance="other"))
    assert (created(found), moved(found), gone(found), found.present) == ([], {}, [], ())


def test_a_renamed_or_moved_vm_keeps_its_object() -> None:
    assert moved(plan([vm("archive/db-old", 1)], made("a", "db", 1))) == {"a": "archive/db-old"}


def test_two_that_changed_places() -> None:
    found = plan([vm("db", 2), vm("web", 1)], made("a", "db", 1), made("b", "web", 2))
    assert moved(found) == {"a": "web", "b": "db"}
    assert created(found) == []


def test_another_vm_in_the_place_of_one_that_is_gone() -> None:
    found = plan([vm("db", 2)], made("a", "db", 1))
    assert (created(found), moved(found), gone(found)) == (["db"], {}, ["a"])


def test_what_was_named_by_hand_is_not_changed() -> None:
    found = plan([vm("new/db", 1)], by_hand("mine", "db", 1))
    assert (created(found), moved(found), gone(found)) == ([], {}, [])


def test_by_hand_the_path_decides_unless_a_uuid_is_given() -> None:
    assert created(plan([vm("db", 2)], by_hand("mine", "db", 1))) == []
    assert created(plan([vm("db", 2)], by_hand("mine", "db", uuid=vm_uuid(1)))) == ["db"]


def test_what_was_found_for_another_spec_does_not_count() -> None:
    edited = by_hand("mine", "web", 1)
    edited["metadata"]["generation"] = 2
    assert created(plan([vm("db", 1)], edited)) == ["db"]


def test_vanished_ones() -> None:
    objects = [made("a", "db", 1), by_hand("b", "web", 2), by_hand("typo", "nobody"), made("c", "no-uuid")]
    assert gone(plan([vm("x", 9)], *objects)) == ["a", "b", "c"]


def test_nobody_vanishes_from_what_was_not_read() -> None:
    assert gone(plan([], made("a", "db", 1), broken=["db"])) == []
    assert gone(plan([], made("a", "db", 1), datacenter="DC2")) == []


def test_a_clone_is_not_taken_for_a_vm_whose_datacenter_was_not_listed() -> None:
    clone = [InventoryVM(id=vm_uuid(1), name="db", path="/DC2/vm/db")]
    found = plan(clone, made("a", "db", 1), by_hand("b", "web", 2), datacenter="DC2")
    assert (moved(found), gone(found), found.present) == ({}, [], ())
    assert [one.seen.vm.path for one in found.creations] == ["/DC2/vm/db"]


def test_what_may_have_moved_out_of_a_datacenter_that_failed_waits_for_its_list() -> None:
    moved_or_clone = [InventoryVM(id=vm_uuid(1), name="db", path="/DC2/vm/db")]
    found = plan([*moved_or_clone, vm("web", 2)], made("a", "db", 1), datacenter="DC2", failed={"DC1"})
    assert (created(found), moved(found), gone(found)) == (["web"], {}, [])
    assert "may be the VM of a" in found.unusable["/DC2/vm/db"]
    clone = made("b", "x", 1)
    clone["spec"]["path"] = "/DC2/vm/db"
    own = plan(moved_or_clone, made("a", "db", 1), clone, datacenter="DC2", failed={"DC1"})
    assert (created(own), dict(own.unusable)) == ([], {})


def test_a_clone_is_not_taken_for_a_vm_whose_entry_could_not_be_read() -> None:
    found = plan([vm("clone", 1)], made("a", "db", 1), broken=["db"])
    assert (created(found), moved(found), gone(found)) == (["clone"], {}, [])
    found = plan([vm("new/web", 2)], by_hand("b", "web", 2), broken=["web"])
    assert (created(found), found.present) == (["new/web"], ())


def test_a_clone_is_not_taken_for_a_vm_that_moved_where_its_entry_could_not_be_read() -> None:
    found = plan([vm("clone", 1)], made("a", "db", 1), broken=["new/db"])
    assert (created(found), moved(found), gone(found)) == (["clone"], {}, ["a"])
    assert moved(plan([vm("new/web", 2)], made("b", "web", 2), broken=["new/db"])) == {"b": "new/web"}


def test_one_that_was_not_looked_at_may_be_the_one_that_moved() -> None:
    elsewhere = made("a", "db", 1)
    elsewhere["spec"]["datacenter"] = "DC2"
    found = plan([vm("new/db", 1)], elsewhere, made("b", "clone", 1))
    assert (created(found), moved(found), gone(found)) == (["new/db"], {}, ["b"])


def test_a_vm_that_moved_between_two_datacenters_that_were_listed() -> None:
    inventories = {
        "DC1": Inventory(),
        "DC2": Inventory(vms=(InventoryVM(id=vm_uuid(1), name="db", path="/DC2/vm/db"),)),
    }
    known = [known_of(made("a", "db", 1), "vma")]
    found = decide_plan(inventories, known, lambda _: True, vcenter=VCENTER, taken={"a"})
    assert [(move.known.name, move.seen.vm.path) for move in found.moves] == [("a", "/DC2/vm/db")]


def test_a_vm_that_vcenter_knows_at_its_path_is_not_the_clone_that_is_listed() -> None:
    objects = [made("a", "db", 1), made("b", "web", 2), made("c", "other", 3, appliance="other")]
    found = plan([vm("clone", 1)], *objects, there={"a", "c"})
    assert (created(found), moved(found), gone(found), names(found.kept)) == (["clone"], {}, ["b"], ["a"])
    found = plan([vm("db", 1)], made("a", "db", 1), there={"a"})
    assert (found.kept, len(found.present)) == ((), 1)


def test_whether_another_vm_is_at_the_old_path() -> None:
    found = plan([vm("db", 2), vm("new/db", 1), vm("new/web", 3)], made("a", "db", 1), made("b", "web", 3))
    assert {move.known.name: move.replaced for move in found.moves} == {"a": True, "b": False}


def gold_databases(seen: InventoryVM) -> dict[str, str]:
    return {"tier": "gold"} if seen.name.startswith("db") else {}


def test_new_and_moved_ones_get_the_labels_of_their_place() -> None:
    found = plan([vm("db", 1), vm("web", 2), vm("db2", 3)], made("c", "web2", 3), labeler=gold_databases)
    assert [one.labels for one in found.creations] == [{"tier": "gold"}, {}]
    assert [(one.known.name, one.labels) for one in found.moves] == [("c", {"tier": "gold"})]
    assert found.relabels == ()


def test_who_gets_other_labels() -> None:
    objects = [made("a", "db1", 1), made("b", "web", 2), by_hand("c", "db3", 3), made("d", "db4", 4, appliance="other")]
    objects.append(made("e", "db5", 5))
    objects[-1]["metadata"]["labels"]["tier"] = "silver"
    machines = [vm(path, number) for number, path in enumerate(("db1", "web", "db3", "db4", "db5"), 1)]
    found = plan(machines, *objects, labeler=gold_databases)
    assert [(one.known.name, one.labels) for one in found.relabels] == [("a", {"tier": "gold"})]
    assert plan(machines, *objects).relabels == ()


def test_one_whose_vm_is_not_listed_keeps_its_labels() -> None:
    labelled = made("a", "db", 1)
    labelled["metadata"]["labels"]["tier"] = "gold"
    labelled["metadata"]["annotations"] = {ANNOTATION_DISCOVERY_LABELS: "tier"}
    assert plan([vm("web", 2)], labelled).relabels == ()
    assert len(plan([vm("db", 1)], labelled).relabels) == 1


def test_clones_with_one_uuid() -> None:
    both = [vm("db", 1), vm("clone", 1)]
    assert created(plan(both)) == ["clone", "db"]
    assert created(plan(both, made("a", "db", 1))) == ["clone"]
    kept = plan(both, made("a", "db", 1), made("b", "clone", 1))
    assert (created(kept), moved(kept), gone(kept)) == ([], {}, [])


def test_a_clone_that_moved_while_the_other_stays() -> None:
    found = plan([vm("db", 1), vm("new/clone", 1)], made("a", "db", 1), made("b", "clone", 1))
    assert (created(found), moved(found)) == ([], {"b": "new/clone"})


def test_clones_that_all_moved_cannot_be_told_apart() -> None:
    found = plan([vm("x", 1), vm("y", 1)], made("a", "db", 1), made("b", "clone", 1))
    assert (created(found), moved(found), gone(found)) == (["x", "y"], {}, ["a", "b"])


def test_vms_without_a_uuid_are_told_by_their_path() -> None:
    assert moved(plan([vm("db")], made("a", "db", 1))) == {}
    found = plan([vm("new")], made("a", "old"))
    assert (created(found), gone(found)) == (["new"], ["a"])


def test_two_vms_of_one_name() -> None:
    first, second = plan([vm("a/db", 1), vm("b/db", 2)]).creations
    assert first.name != second.name
    assert all(name.startswith("db-") for name in (first.name, second.name))


def test_names_do_not_depend_on_what_else_is_there_or_where_it_lies() -> None:
    alone = plan([vm("db", 1)]).creations[0].name
    assert alone in {one.name for one in plan([vm("a/x", 7), vm("b/db", 1), vm("c/db", 2)]).creations}


def test_a_name_that_is_taken() -> None:
    first = plan([vm("db", 1)]).creations[0].name
    other = plan([vm("db", 1)], taken={first}).creations[0].name
    assert other != first
    none = plan([vm("db", 1)], taken={first, other})
    assert not none.creations
    assert "ProtectedVM" in none.unusable["/DC1/vm/db"]


def test_paths_that_no_object_can_hold() -> None:
    odd = [InventoryVM(name="a", path="a"), InventoryVM(name="b", path="/"), vm("x" * 1024), vm("fine", 1)]
    found = plan(odd)
    assert created(found) == ["fine"]
    assert len(found.unusable) == 3


places = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3)), max_size=6, unique_by=lambda place: place[0])


@given(places, places)
def test_each_vm_has_one_object_in_the_end(before: list[tuple[str, int]], after: list[tuple[str, int]]) -> None:
    """Whatever moved, was cloned or replaced: then no VM is without an object, and nothing is left to do."""
    objects = [made(f"o{index}", path, number or None) for index, (path, number) in enumerate(before)]
    vms = [vm(path, number or None) for path, number in after]
    first = plan(vms, *objects)
    now = {obj["metadata"]["name"]: obj for obj in objects}
    for move in first.moves:
        now[move.known.name]["spec"]["path"] = move.seen.vm.path
    for one in first.creations:
        assert is_object_name(one.name)
        assert one.name not in now
        number = one.seen.uuid
        now[one.name] = made(one.name, one.seen.vm.path.removeprefix("/DC1/vm/"), int(number[-1]) if number else None)
    again = plan(vms, *now.values())
    assert (again.creations, again.moves, again.unusable) == ((), (), {})
    assert gone(again) == gone(first)
