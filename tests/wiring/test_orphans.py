"""Jobs and pods that somebody else made with our labels: they take no slot and answer for no worker."""

from __future__ import annotations

from tests.support.sample import completed_answer, ended, uid_of
from tests.wiring.rig import Rig
from tests.wiring.test_incrementals import backed_up

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds


async def test_a_job_of_somebody_else_blocks_no_slot_and_no_vm() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"))
    rig.create_backup("b2")
    await rig.run(lambda: rig.phase("b2") == "Running", seconds=20)
    (job,) = rig.world.worker_jobs()[-1:]
    labels = job["metadata"]["labels"]
    await rig.run(lambda: rig.is_over("b2") and rig.is_clean())
    for number in range(10):
        meta = {"name": f"forged-{number}", "namespace": "shop", "uid": uid_of("forged", str(number)), "labels": labels}
        # Suspended, so that it neither runs nor ends.
        rig.world.cluster.put(kinds.JOB, {"metadata": meta, "spec": {**job["spec"], "suspend": True}, "status": {}})
    rig.create_backup("b3")
    await rig.run(lambda: rig.phase("b3") == "Running", seconds=20)
    appliance = rig.world.cluster.one(kinds.APPLIANCE, "vma")
    assert appliance["status"].get("activeBackups", 0) <= 1


async def test_a_pod_of_somebody_else_answers_for_no_worker() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"))
    rig.create_backup("b2")
    await rig.run(lambda: rig.phase("b2") == "Running", seconds=20)
    labels = {
        names.LABEL_COMPONENT: names.COMPONENT_WORKER,
        names.LABEL_BACKUP: "b2",
        names.LABEL_BACKUP_UID: rig.backup("b2")["metadata"]["uid"],
    }
    owner = {"uid": uid_of("ReplicaSet", "theirs"), "kind": "ReplicaSet", "name": "theirs", "controller": True}
    meta = {
        "name": "forged",
        "namespace": "shop",
        "uid": uid_of("Pod", "forged"),
        "labels": labels,
        "ownerReferences": [owner],
    }
    status = {"phase": "Succeeded", "containerStatuses": ended(completed_answer().to_message())}
    rig.world.cluster.put(kinds.POD, {"metadata": meta, "spec": {}, "status": status})
    await rig.settle(seconds=3)
    assert rig.phase("b2") == "Running"
