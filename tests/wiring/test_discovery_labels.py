"""Labels that discovery sets on ProtectedVMs: by folder and name, kept up to date, and never instead of a user's."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj, find_condition
from tests.wiring.discoveryworld import INTERVAL, World, vm

from sendense_operator.api.v1alpha1.names import ANNOTATION_DISCOVERY_LABELS, LABEL_DISCOVERED_BY
from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import ClusterError, ConflictError, ForbiddenError, InvalidError
from sendense_operator.cluster.kinds import Kind
from sendense_operator.reconcile.vcenter.discovery_reconciler import PAUSE_S, STEPS

GOLD = {"name": "databases", "namePatterns": ["db*"], "labels": {"tier": "gold"}}
SILVER = {"name": "production", "folder": "prod", "labels": {"tier": "silver", "team": "shop"}}
RULES = [GOLD, SILVER]
DB, WEB, TEST = "prod/db1", "prod/web1", "test/web2"


def machines() -> list[Any]:
    return [vm(number, f"/DC1/vm/{path}") for number, path in enumerate((DB, WEB, TEST), 1)]


def labels(rig: World) -> dict[str, dict[str, str]]:
    """Labels besides the operator's own, by path."""
    found = {path: dict(obj["metadata"]["labels"]) for path, obj in rig.objects().items()}
    for of in found.values():
        of.pop(LABEL_DISCOVERED_BY, None)
    return found


def record(rig: World, path: str) -> str | None:
    annotations = rig.objects()[path]["metadata"].get("annotations") or {}
    return annotations.get(ANNOTATION_DISCOVERY_LABELS)


def set_rules(rig: World, *rules: Obj, **more: Any) -> None:
    discovery = rig.world.cluster.one(kinds.APPLIANCE, "vma")["spec"]["discovery"]
    rig.edit(kinds.APPLIANCE, "vma", discovery={**discovery, "labels": list(rules), **more})


def set_label(rig: World, path: str, key: str, value: str | None) -> None:
    """As `kubectl label`."""
    obj = rig.objects()[path]
    if value is None:
        del obj["metadata"]["labels"][key]
    else:
        obj["metadata"]["labels"][key] = value
    rig.world.cluster.put(kinds.PROTECTED_VM, obj)


async def found_anew(rig: World) -> None:
    """After the discovery that the changed appliance asks for."""
    generation = rig.world.cluster.one(kinds.APPLIANCE, "vma")["metadata"]["generation"]

    def ended() -> bool:
        one = find_condition(rig.world.cluster.one(kinds.APPLIANCE, "vma")["status"], "Discovered")
        return one["reason"] in ("Discovered", "DryRun") and one["observedGeneration"] == generation

    await rig.run(ended)


async def test_new_objects_get_the_labels_of_all_rules_that_hold() -> None:
    rig = await World(*machines(), labels=RULES).found()
    assert labels(rig) == {DB: {"tier": "gold", "team": "shop"}, WEB: {"tier": "silver", "team": "shop"}, TEST: {}}
    assert [record(rig, path) for path in (DB, WEB, TEST)] == ["team,tier", "team,tier", None]
    assert (rig.reported()["created"], rig.reported()["updated"]) == (3, 0)
    before = len(rig.world.cluster.written)
    await rig.next()
    assert "ProtectedVM" not in rig.world.cluster.written[before:]


async def test_labels_follow_a_vm_that_is_moved_and_renamed() -> None:
    rig = await World(*machines(), labels=RULES).found()
    names = rig.names()
    rig.machines[:] = [vm(1, "/DC1/vm/test/db1"), vm(2, "/DC1/vm/prod/db2"), vm(3, "/DC1/vm/prod/web2")]
    before = rig.world.cluster.written.count("ProtectedVM")
    await rig.run(lambda: rig.reported().get("updated") == 3, seconds=2 * INTERVAL)
    assert labels(rig) == {
        "test/db1": {"tier": "gold"},
        "prod/db2": {"tier": "gold", "team": "shop"},
        "prod/web2": {"tier": "silver", "team": "shop"},
    }
    assert rig.names() == {"test/db1": names[DB], "prod/db2": names[WEB], "prod/web2": names[TEST]}
    assert record(rig, "test/db1") == "tier"
    assert rig.world.cluster.written.count("ProtectedVM") - before >= 3


async def test_path_and_labels_of_a_moved_vm_are_one_write() -> None:
    rig = await World(*machines(), labels=RULES).found()
    rig.machines[2] = vm(3, "/DC1/vm/prod/db3")
    seen: list[tuple[str, str | None]] = []
    watched = rig.world.cluster.on_change

    def watch(event: str, kind: Kind, obj: Obj) -> None:
        if kind.kind == "ProtectedVM":
            seen.append((obj["spec"]["path"], obj["metadata"]["labels"].get("tier")))
        watched(event, kind, obj)

    rig.world.cluster.on_change = watch
    await rig.next()
    assert set(seen) == {("/DC1/vm/prod/db3", "gold")}


async def test_changed_rules_change_existing_objects_at_once() -> None:
    rig = await World(*machines()).found()
    assert labels(rig) == {DB: {}, WEB: {}, TEST: {}}
    set_rules(rig, *RULES)
    await found_anew(rig)
    assert labels(rig) == {DB: {"tier": "gold", "team": "shop"}, WEB: {"tier": "silver", "team": "shop"}, TEST: {}}
    assert (rig.reported()["created"], rig.reported()["updated"]) == (0, 2)
    assert "2 changed" in rig.reported()["message"]
    set_rules(rig, {**GOLD, "labels": {"tier": "platinum"}})
    await found_anew(rig)
    assert labels(rig) == {DB: {"tier": "platinum"}, WEB: {}, TEST: {}}
    set_rules(rig)
    await found_anew(rig)
    assert labels(rig) == {DB: {}, WEB: {}, TEST: {}}
    assert record(rig, DB) is None


async def test_objects_whose_vms_are_no_longer_chosen_still_follow_the_rules() -> None:
    rig = await World(*machines(), labels=RULES).found()
    set_rules(rig, GOLD, excludePatterns=["web*"])
    await found_anew(rig)
    assert labels(rig) == {DB: {"tier": "gold"}, WEB: {}, TEST: {}}


async def test_labels_set_by_hand_are_kept() -> None:
    rig = await World(*machines()).found()
    set_label(rig, DB, "tier", "bronze")
    set_label(rig, WEB, "owner", "me")
    set_rules(rig, *RULES)
    await found_anew(rig)
    assert labels(rig)[DB] == {"tier": "bronze", "team": "shop"}
    assert labels(rig)[WEB] == {"tier": "silver", "team": "shop", "owner": "me"}
    assert record(rig, DB) == "team"
    set_rules(rig)
    await found_anew(rig)
    assert labels(rig) == {DB: {"tier": "bronze"}, WEB: {"owner": "me"}, TEST: {}}


async def test_labels_that_discovery_set_get_their_values_back() -> None:
    rig = await World(*machines(), labels=RULES).found()
    set_label(rig, DB, "tier", "bronze")
    set_label(rig, WEB, "tier", None)
    await rig.next()
    assert (labels(rig)[DB]["tier"], labels(rig)[WEB]["tier"]) == ("gold", "silver")


async def test_objects_made_by_hand_or_taken_over_get_none() -> None:
    rig = World(*machines())
    rig.create(kinds.PROTECTED_VM, sample.protected_vm("mine", path=f"/DC1/vm/{DB}"))
    await rig.found()
    set_label(rig, WEB, LABEL_DISCOVERED_BY, None)
    set_rules(rig, *RULES)
    await found_anew(rig)
    assert all("tier" not in (obj["metadata"].get("labels") or {}) for obj in rig.objects().values())


async def test_a_dry_run_changes_no_labels() -> None:
    rig = await World(*machines()).found()
    set_rules(rig, *RULES, dryRun=True)
    await found_anew(rig)
    assert labels(rig) == {DB: {}, WEB: {}, TEST: {}}
    assert "2 changed" in rig.reported()["message"]
    assert rig.reported()["updated"] == 0


async def test_a_vm_that_vanished_keeps_its_labels() -> None:
    rig = await World(*machines(), labels=RULES).found()
    del rig.machines[0]
    set_rules(rig)
    await found_anew(rig)
    await rig.next()
    assert labels(rig) == {DB: {"tier": "gold", "team": "shop"}, WEB: {}, TEST: {}}
    assert rig.reported()["vanished"] == 1


async def test_many_are_changed_without_a_burst_though_their_status_changes_meanwhile() -> None:
    rig = await World(*(vm(number) for number in range(100))).found()
    set_rules(rig, {"name": "all", "namePatterns": ["*"], "labels": {"tier": "gold"}})
    changed: list[int] = [0]
    for second in range(int(100 / STEPS * PAUSE_S) + 30):
        await rig.controller.work()
        changed.append(sum(1 for of in labels(rig).values() if of))
        busy = rig.objects()[f"vm{99 - second % 100}"]
        rig.world.cluster.put(kinds.PROTECTED_VM, {**busy, "status": {**busy["status"], "guestOS": str(second)}})
        rig.world.step()
    assert changed[-1] == 100
    assert max(later - earlier for earlier, later in pairwise(changed)) <= 2 * STEPS
    assert rig.reported()["updated"] == 100
    assert rig.lists() == 2


async def test_another_program_that_takes_the_labels_away_does_not_keep_a_discovery_from_its_end() -> None:
    rig = await World(*machines()).found()
    watched = rig.world.cluster.on_change

    def rival(event: str, kind: Kind, obj: Obj) -> None:
        watched(event, kind, obj)
        if kind.kind == "ProtectedVM" and "tier" in obj["metadata"]["labels"]:
            kept = {key: value for key, value in obj["metadata"]["labels"].items() if key != "tier"}
            rig.world.cluster.put(kinds.PROTECTED_VM, {**obj, "metadata": {**obj["metadata"], "labels": kept}})

    rig.world.cluster.on_change = rival
    set_rules(rig, GOLD)
    await found_anew(rig)
    assert rig.reported()["updated"] == 1
    assert labels(rig)[DB] == {}
    rig.world.cluster.on_change = watched
    await rig.next()
    assert labels(rig)[DB] == {"tier": "gold"}


@pytest.mark.parametrize("error", [ConflictError("changed meanwhile"), None])
async def test_what_another_one_changes_between_plan_and_write_is_not_lost(error: ClusterError | None) -> None:
    rig = await World(*machines()).found()
    conflicts = iter([error] if error else [])

    def failing(verb: str, kind: Kind) -> ClusterError | None:
        if (verb, kind) != ("patch", kinds.PROTECTED_VM):
            return None
        if not labels(rig)[DB]:
            set_label(rig, DB, "tier", "bronze")
        return next(conflicts, None)

    rig.world.cluster.failing = failing
    set_rules(rig, *RULES)
    await found_anew(rig)
    assert labels(rig)[DB] == {"tier": "bronze", "team": "shop"}
    assert record(rig, DB) == "team"


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(InvalidError("no such team"), ("True", "Discovered")), (ForbiddenError("no"), ("False", "Forbidden"))],
)
async def test_a_change_that_the_api_server_refuses_is_reported(error: ClusterError, verdict: tuple[str, str]) -> None:
    rig = await World(*machines()).found()
    # Only the labels: writes of the status go by another verb.
    rig.world.cluster.failing = lambda verb, kind: error if (verb, kind) == ("patch", kinds.PROTECTED_VM) else None
    set_rules(rig, *RULES)
    await rig.run(lambda: rig.verdict() == verdict and str(error) in rig.reported()["message"])
    assert "can't be made or changed" in rig.reported()["message"] or verdict[1] == "Forbidden"
    rig.world.cluster.failing = lambda verb, kind: None
    await rig.next()
    assert labels(rig)[DB] == {"tier": "gold", "team": "shop"}


@pytest.mark.parametrize("after", range(1, 8))
async def test_killed_after_each_write(after: int) -> None:
    rig = await World(*machines()).found()
    rig.world.cluster.kill_after = after
    set_rules(rig, *RULES)
    await rig.run(lambda: labels(rig)[DB] and labels(rig)[WEB])
    rig.world.cluster.kill_after = None
    set_rules(rig)
    await rig.run(lambda: not labels(rig)[DB] and not labels(rig)[WEB])


async def test_a_policy_backs_up_what_discovery_labels() -> None:
    rig = World(*machines(), labels=RULES)
    rig.create(kinds.CLAIM, sample.claim())
    rig.create(kinds.BACKUP_REPOSITORY, sample.repository())
    spec = {"repositoryRef": {"name": "store"}, "vmSelector": {"matchLabels": {"tier": "gold"}}}
    rig.create(kinds.BACKUP_POLICY, sample.custom("BackupPolicy", "nightly", spec))

    def protected() -> int:
        return int(rig.world.cluster.one(kinds.BACKUP_POLICY, "nightly").get("status", {}).get("vms", 0))

    await rig.run(lambda: protected() == 1)
    set_rules(rig, {**GOLD, "namePatterns": ["*"]})
    await rig.run(lambda: protected() == 3, seconds=60)
