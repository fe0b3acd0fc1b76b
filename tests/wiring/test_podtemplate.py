"""What a repository says of pods reaches those that are made from then on, and those that run go on."""

from __future__ import annotations

from typing import Any

from tests.support.objects import Obj
from tests.wiring.rig import Rig

from sendense_operator.api.v1alpha1 import names
from sendense_operator.chain.memory_estimate import DiskLoad, estimate
from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import ForbiddenError
from sendense_operator.cluster.kinds import Kind
from sendense_operator.reconcile.state.quantity import parse_quantity

TEMPLATE: dict[str, Any] = {"labels": {"team": "storage"}, "nodeSelector": {"disk": "ssd"}}


def pod_of(job: Obj) -> Obj:
    template: Obj = job["spec"]["template"]
    return template


def jobs_of(rig: Rig, component: str) -> list[Obj]:
    found = rig.world.cluster.all(kinds.JOB)
    return [job for job in found if job["metadata"]["labels"][names.LABEL_COMPONENT] == component]


def worker_of(rig: Rig, backup: str) -> list[Obj]:
    return [job for job in rig.world.worker_jobs() if job["metadata"]["labels"][names.LABEL_BACKUP] == backup]


async def test_workers_and_maintenance_get_it() -> None:
    rig = Rig(worker_pod_template={"labels": {"team": "backup", "tier": "x"}})
    rig.create_references(podTemplate=TEMPLATE)
    await rig.run(lambda: jobs_of(rig, names.COMPONENT_PROBE), seconds=30)
    (probe,) = jobs_of(rig, names.COMPONENT_PROBE)
    rig.create_backup()
    await rig.run(rig.world.worker_jobs)
    for job in (probe, *rig.world.worker_jobs()):
        assert {"team": "storage", "tier": "x"}.items() <= pod_of(job)["metadata"]["labels"].items()
        assert pod_of(job)["spec"]["nodeSelector"] == {"disk": "ssd"}
        assert "team" not in job["metadata"]["labels"]
    await rig.run(lambda: rig.phase() == "Completed" and rig.is_clean())


async def test_a_change_leaves_those_that_run_alone() -> None:
    rig = Rig()
    rig.create_references()
    rig.create_backup()
    await rig.run(lambda: rig.reason() == "Copying")
    (before,) = rig.world.worker_jobs()
    rig.edit(kinds.BACKUP_REPOSITORY, "store", podTemplate=TEMPLATE)
    await rig.settle(seconds=10)
    (after,) = rig.world.worker_jobs()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"] == before["spec"]
    await rig.run(lambda: rig.phase() == "Completed" and rig.is_clean())
    rig.create_backup("b2")
    await rig.run(lambda: worker_of(rig, "b2"))
    assert pod_of(worker_of(rig, "b2")[0])["spec"]["nodeSelector"] == {"disk": "ssd"}


async def test_a_priority_that_nobody_knows_is_reported_by_backup_and_repository() -> None:
    rig = Rig()
    rig.create_references()
    await rig.run(lambda: rig.is_ready(kinds.BACKUP_REPOSITORY, "store"))
    rig.edit(kinds.BACKUP_REPOSITORY, "store", podTemplate={"priorityClassName": "gone"})
    create = rig.world.cluster.create

    async def admit(kind: Kind, obj: Obj, *, dry_run: bool = False) -> Obj:
        if kind == kinds.POD and obj["spec"].get("priorityClassName") == "gone":
            raise ForbiddenError("no PriorityClass with name gone was found")
        return await create(kind, obj, dry_run=dry_run)

    rig.world.cluster.create = admit  # type: ignore[method-assign]
    rig.create_backup()
    words = "no PriorityClass with name gone was found"
    await rig.run(lambda: words in rig.backup()["status"]["message"], seconds=60)
    assert rig.reason() in ("PodForbidden", "RepositoryNotReady")
    await rig.run(lambda: words in str(rig.world.cluster.one(kinds.BACKUP_REPOSITORY, "store")["status"]))
    rig.edit(kinds.BACKUP_REPOSITORY, "store", podTemplate={})
    await rig.run(lambda: rig.phase() == "Completed" and rig.is_clean())


async def test_too_little_memory_is_raised_to_what_the_disks_need() -> None:
    rig = Rig(worker_resources={"limits": {"memory": "1Gi"}})
    rig.create_references(podTemplate={"resources": {"limits": {"memory": "16Mi"}, "requests": {"cpu": 1}}})
    await rig.run(lambda: jobs_of(rig, names.COMPONENT_PROBE), seconds=30)
    (probe,) = jobs_of(rig, names.COMPONENT_PROBE)
    rig.create_backup()
    await rig.run(rig.world.worker_jobs)
    (worker,) = rig.world.worker_jobs()
    for job, disks in ((probe, []), (worker, [DiskLoad(1, 1)])):
        (container,) = pod_of(job)["spec"]["containers"]
        assert parse_quantity(container["resources"]["limits"]["memory"]) >= estimate(disks)
        assert container["resources"]["requests"]["cpu"] == "1"
