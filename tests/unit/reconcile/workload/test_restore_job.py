"""The Job of a restore: its pod mounts the repository and the claims, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.support import sample

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.api.v1alpha1.pod_template import PodTemplate
from sendense_operator.cluster.object_names import tls_secret_name
from sendense_operator.cluster.provenance import is_restore_job
from sendense_operator.reconcile.restores.restore_sender import receiver_task, sender_task
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.reconcile.workload.restore_job import RestorePlan, build_restore_job, build_sender_job
from sendense_operator.restore_task import FileFormat, FileTask, RestoreDisk, RestoreTask
from sendense_operator.task import PointReference

TASK = RestoreTask(
    namespace="shop",
    restore="r1",
    restore_uid=sample.uid_of("Restore", "r1"),
    vm="db",
    repository_id="id",
    point=PointReference(backup="b1", backup_uid=sample.uid_of("Backup", "b1")),
    disks=(
        RestoreDisk(index=0, virtual_size=512, claim="first"),
        RestoreDisk(index=3, virtual_size=512, claim="second"),
        RestoreDisk(index=4, virtual_size=512),
    ),
)
PLAN = RestorePlan(
    repository_name="store",
    repository=BackupRepositorySpec(claim_name="store-claim"),
    one_node=True,
    resources={},
    retries=2,
    deadline_seconds=60,
)


def test_the_job() -> None:
    settings = Settings(worker_image="sendense-backup:test")
    job = build_restore_job(sample.restore(), TASK, PLAN, settings)
    assert is_restore_job(job)
    assert job["spec"]["backoffLimit"] == 2
    assert job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [42]
    template = job["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert (labels[names.LABEL_RESTORE], labels[names.LABEL_COMPONENT]) == ("r1", "restore")
    assert RestoreTask.model_validate(json.loads(template["metadata"]["annotations"][names.ANNOTATION_TASK])) == TASK
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in template["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claims == {"repository": "store-claim", "target-0": "first", "target-3": "second"}
    (container,) = template["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert (mounts["target-0"], mounts["target-3"]) == ("/targets/disk-0", "/targets/disk-3")
    assert "secret" not in json.dumps(template)
    assert template["spec"]["automountServiceAccountToken"] is False


def test_files_are_written_to_one_claim() -> None:
    disks = tuple(RestoreDisk(index=index, virtual_size=512, claim="exports") for index in (0, 3))
    task = TASK.model_copy(update={"disks": disks, "file": FileTask(format=FileFormat.OVA, folder="a/b")})
    job = build_restore_job(sample.restore(), task, PLAN, Settings(worker_image="x"))
    spec = job["spec"]["template"]["spec"]
    claims = [volume for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
    assert [volume["persistentVolumeClaim"]["claimName"] for volume in claims] == ["store-claim", "exports"]
    mounts = {mount["name"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    assert mounts["files"] == {"name": "files", "mountPath": "/targets/files"}


def test_only_the_file_of_a_key_reaches_a_pod() -> None:
    task = TASK.model_copy(update={"serve": True, "serve_tls": True})
    job = build_restore_job(sample.restore(), task, PLAN, Settings(worker_image="sendense-backup:test"))
    spec = job["spec"]["template"]["spec"]
    (source,) = [volume["secret"] for volume in spec["volumes"] if "secret" in volume]
    name = tls_secret_name("r1", sample.uid_of("Restore", "r1"))
    assert source == {"secretName": name, "items": [{"key": "keys.psk", "path": "keys.psk"}], "defaultMode": 0o440}
    (container,) = spec["containers"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "tls"]
    assert (mount["mountPath"], mount["readOnly"]) == ("/etc/sendense/tls", True)
    assert not [variable for variable in container["env"] if "secretKeyRef" in json.dumps(variable)]


def test_a_job_that_somebody_else_made_is_none() -> None:
    job = build_restore_job(sample.restore(), TASK, PLAN, Settings(worker_image="x"))
    assert not is_restore_job({**job, "metadata": {**job["metadata"], "name": "another"}})
    assert not is_restore_job({**job, "metadata": {**job["metadata"], "ownerReferences": []}})


def test_two_pods_share_nothing_but_the_key() -> None:
    template = PodTemplate(node_selector={"disks": "many"}, labels={"team": "a"})
    spec = BackupRepositorySpec(claim_name="store-claim", pod_template=template)
    plan = replace(PLAN, repository=spec)
    settings = Settings(worker_image="sendense-backup:test")
    sender = build_sender_job(sample.restore(), sender_task(TASK), plan, settings)
    writer = build_restore_job(sample.restore(), receiver_task(TASK, sample.restore()), plan, settings)
    assert (is_restore_job(writer), is_restore_job(sender)) == (True, False), "one slot"
    pods = [job["spec"]["template"] for job in (sender, writer)]
    mounted = [[volume["name"] for volume in pod["spec"]["volumes"]] for pod in pods]
    assert mounted == [
        ["task", "repository", "scratch", "tls"],
        ["task", "scratch", "target-0", "target-3", "tls"],
    ]
    assert [pod["spec"].get("nodeSelector") for pod in pods] == [{"disks": "many"}, None]
    assert [bool(pod["spec"].get("affinity")) for pod in pods] == [True, False]
    assert [pod["metadata"]["labels"]["team"] for pod in pods] == ["a", "a"]
    assert spec.pod_template is not None
    assert spec.pod_template.node_selector, "the repository's own is left alone"
    assert sender["spec"]["activeDeadlineSeconds"] > writer["spec"]["activeDeadlineSeconds"]
