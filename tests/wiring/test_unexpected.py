"""What a reconcile does not expect is written into the object; who waits is reported early, and starts in order."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import sample
from tests.support.objects import Obj, disk_types, find_condition
from tests.support.sample import NAMESPACE
from tests.wiring.rig import Rig
from tests.wiring.test_incrementals import backed_up
from tests.wiring.test_silence import begin, silent

from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import ClusterError, ForbiddenError, InvalidError, UnavailableError
from sendense_operator.cluster.kinds import Kind
from sendense_operator.reconcile.backups.backup_reconciler import reconcile_backup

WORDS = 'HTTP 500: failed calling webhook "policy.example": connection refused'
AWAY = UnavailableError(WORDS)


def fail(rig: Rig, verb: str, kind: Kind, error: ClusterError | None = AWAY) -> None:
    rig.world.cluster.failing = lambda done, of: error if (done, of) == (verb, kind) else None


def recover(rig: Rig) -> None:
    rig.world.cluster.failing = lambda verb, kind: None


def ready(rig: Rig, kind: Kind, name: str) -> Obj:
    return find_condition(rig.world.cluster.one(kind, name).get("status", {}), "Ready")


async def test_a_job_that_can_not_be_created_is_said_so_and_made_later() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"))
    fail(rig, "create", kinds.JOB)
    rig.create_backup("b2")
    await rig.run(lambda: rig.reason("b2") == "APIServerError", seconds=10)
    assert rig.phase("b2") == "Pending"
    assert WORDS in rig.backup("b2")["status"]["conditions"][0]["message"]
    assert [event["type"] for event in rig.events("APIServerError")] == ["Warning"]
    recover(rig)
    await rig.run(lambda: rig.phase("b2") == "Completed")


async def test_the_deadline_repeats_the_words_of_the_server() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"))
    fail(rig, "create", kinds.JOB)
    rig.create_backup("b2", startDeadlineSeconds=60)
    await rig.run(lambda: rig.is_over("b2"), seconds=150)
    assert rig.reason("b2") == "StartDeadlineExceeded"
    assert WORDS in rig.backup("b2")["status"]["conditions"][0]["message"]


@pytest.mark.parametrize(
    ("kind", "name", "verb", "what"),
    [
        (kinds.BACKUP_REPOSITORY, "store", "create", kinds.JOB),
        (kinds.PROTECTED_VM, "db", "get", kinds.APPLIANCE),
        (kinds.APPLIANCE, "vma", "get", kinds.SECRET),
    ],
    ids=lambda part: getattr(part, "kind", None),
)
async def test_all_kinds_say_it(kind: Kind, name: str, verb: str, what: Kind) -> None:
    rig = Rig()
    fail(rig, verb, what)
    rig.create_references()
    await rig.run(lambda: ready(rig, kind, name).get("reason") == "APIServerError", seconds=20)
    assert WORDS in ready(rig, kind, name)["message"]
    recover(rig)
    await rig.run(lambda: ready(rig, kind, name).get("status") == "True", seconds=120)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(InvalidError("spec.x: bad"), "APIInvalid"), (ForbiddenError("no get for secrets"), "APIForbidden")],
)
async def test_other_words_of_the_server(error: ClusterError, reason: str) -> None:
    rig = await backed_up(Rig(), ("b1", "Full"))
    fail(rig, "list", kinds.JOB, error)
    rig.create_backup("b2")
    await rig.run(lambda: rig.reason("b2") == reason, seconds=10)
    assert str(error) in rig.backup("b2")["status"]["conditions"][0]["message"]


async def test_a_deadline_without_a_controller_says_so() -> None:
    rig = Rig()
    rig.create_references()
    rig.create_backup(startDeadlineSeconds=60)
    for _ in range(90):
        rig.world.step()
    rig.restart()
    await rig.run(lambda: rig.is_over("b1"), seconds=10)
    assert "no controller processed it" in rig.backup()["status"]["conditions"][0]["message"]


async def test_the_first_status_comes_before_the_appliance_answers() -> None:
    rig, vma = await silent(1)
    rig.create_backup("b1", vmRef={"name": "vm0"})
    (look,) = await begin(vma, 1, [reconcile_backup(rig.controller.ctx, NAMESPACE, "b1")])
    assert (rig.phase(), rig.reason()) == ("Pending", "Accepted")
    assert rig.events("Accepted") == []
    look.cancel()
    await asyncio.gather(look, return_exceptions=True)


async def test_what_was_applied_together_is_a_full_and_an_increment() -> None:
    """The name of the increment comes first, and it is ready to start when the full still waits."""
    rig = Rig()
    rig.create_references()
    rig.create_backup("a-auto", type="Auto")
    rig.create_backup("b-full", type="Full")
    await rig.run(lambda: rig.is_over("a-auto") and rig.is_over("b-full"))
    assert disk_types(rig.backup("b-full")["status"]) == [("Full", None)]
    assert disk_types(rig.backup("a-auto")["status"]) == [("Incremental", None)]


async def test_the_older_one_starts_first_whatever_it_waits_for() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"))
    denied = {"worker of old": True}
    create = rig.world.cluster.create

    async def refuse(kind: Kind, obj: Obj, *, dry_run: bool = False) -> Obj:
        if kind == kinds.JOB and denied and "old" in obj["metadata"]["name"]:
            raise AWAY
        return await create(kind, obj, dry_run=dry_run)

    rig.world.cluster.create = refuse  # type: ignore[method-assign]
    rig.create_backup("old", type="Incremental")
    rig.world.step()
    rig.create_backup("new", type="Incremental")
    await rig.settle(seconds=20)
    assert rig.reason("new") == "ChainBusy"
    assert "Backup old" in rig.backup("new")["status"]["message"]
    denied.clear()
    await rig.run(lambda: rig.is_over("old") and rig.is_over("new"))
    assert rig.backup("new")["status"]["disks"][0]["parent"] == "old"


async def test_one_that_is_given_up_lets_the_next_one_start_at_once() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"))
    fail(rig, "create", kinds.JOB)
    rig.create_backup("old", type="Incremental", startDeadlineSeconds=60)
    rig.world.step()
    rig.create_backup("new", type="Incremental")
    await rig.run(lambda: rig.is_over("old"), seconds=150)
    recover(rig)
    await rig.run(lambda: rig.phase("new") == "Running", seconds=35)


async def test_the_next_one_of_a_vm_starts_when_the_last_ones_job_ends() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"))
    for number in range(2, 6):
        name = f"b{number}"
        rig.create_backup(f"{name}", type="Incremental")
        await rig.run(lambda name=name: rig.phase(name) == "Running", seconds=5)  # type: ignore[misc]
        rig.create_backup(f"{name}-next", type="Incremental")
        await rig.run(lambda name=name: rig.is_over(name))  # type: ignore[misc]
        await rig.run(lambda name=name: rig.phase(f"{name}-next") == "Running", seconds=3)  # type: ignore[misc]
        await rig.run(lambda name=name: rig.is_over(f"{name}-next") and rig.is_clean())  # type: ignore[misc]


async def test_a_quota_that_stops_the_maintenance_pod_says_nothing_of_a_repository_that_works() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"), probeIntervalSeconds=10)
    rig.create_backup("b2")
    await rig.run(lambda: rig.phase("b2") == "Running", seconds=20)
    create = rig.world.cluster.create

    async def refuse(kind: Kind, obj: Obj, *, dry_run: bool = False) -> Obj:
        if kind == kinds.POD and dry_run and "probe" in str(obj["metadata"]):
            raise ForbiddenError("exceeded quota: pods, used: 1, limited: 1")
        return await create(kind, obj, dry_run=dry_run)

    rig.world.cluster.create = refuse  # type: ignore[method-assign]
    await rig.run(lambda: rig.events("PodForbidden"), seconds=60)
    assert rig.phase("b2") == "Running"
    assert rig.is_ready(kinds.BACKUP_REPOSITORY, "store")
    await rig.run(lambda: rig.is_over("b2"))
    await rig.run(lambda: ready(rig, kinds.BACKUP_REPOSITORY, "store").get("reason") == "PodForbidden", seconds=60)


async def test_an_adopted_point_is_called_adopted() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"))
    rig.world.repository.commit_unheard("b9", sample.uid_of("elsewhere"), rig.world.clock.now())
    rig.create_backup("b9", adopt={"uid": sample.uid_of("elsewhere")})
    await rig.run(lambda: rig.phase("b9") == "Completed", seconds=60)
    message = rig.backup("b9")["status"]["conditions"][0]["message"]
    assert "adopted from the repository" in message
    assert "attempt" not in message
