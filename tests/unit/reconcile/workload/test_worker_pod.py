"""Pods and Jobs of workers and probes: what Pod Security `restricted` asks for, and what the contract promises."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import GIB

from sendense_operator import task as contract
from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backup import BackupSpec
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec, VMDisk
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec
from sendense_operator.reconcile.backups.backup_task import build_backup_task
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.reconcile.workload.worker_job import (
    build_probe_job,
    build_worker_job,
    probe_labels,
    worker_labels,
)
from sendense_operator.reconcile.workload.worker_pod import build_probe_template, build_worker_template, task_of
from sendense_operator.task import BackupTask, ExitCode, ProbeTask
from sendense_operator.worker.settings import Settings as WorkerSettings

BACKUP = sample.backup()
SETTINGS = Settings(worker_image="registry.example/sendense:1", worker_resources={"limits": {"memory": "256Mi"}})
LABELS = worker_labels(BACKUP, vm="db", repository="store", appliance="vma", vm_key="k", vm_identity="i")


def task(disks: int = 2, *, adopt_only: bool = False, **appliance: Any) -> BackupTask:
    spec = VMwareApplianceSpec.model_validate(sample.appliance(**appliance)["spec"])
    return build_backup_task(
        namespace="shop",
        backup="b1",
        uid=BACKUP["metadata"]["uid"],
        spec=BackupSpec.model_validate(BACKUP["spec"]),
        repository=BackupRepositorySpec.model_validate(sample.repository()["spec"]),
        repository_id="repo-1",
        vm=ProtectedVMSpec.model_validate(sample.protected_vm()["spec"]),
        disks=[VMDisk(index=index, key=2000 + index, virtual_size=GIB) for index in range(disks)],
        appliance=spec,
        ports=(),
        adopt_only=adopt_only,
        now=sample.NOON,
    )


def template(
    *,
    host_ports: tuple[int, ...] = (),
    security: Obj | None = None,
    wanted: Obj | None = None,
    one_node: bool = False,
    adopt_only: bool = False,
    settings: Settings = SETTINGS,
    **appliance: Any,
) -> Obj:
    repository = sample.repository(podSecurity=security or {}, podTemplate=wanted or {})
    return build_worker_template(
        task(adopt_only=adopt_only, **appliance),
        labels=LABELS,
        repository=BackupRepositorySpec.model_validate(repository["spec"]),
        appliance=VMwareApplianceSpec.model_validate(sample.appliance(**appliance)["spec"]),
        host_ports=host_ports,
        one_node=one_node,
        resources=settings.worker_resources,
        settings=settings,
    )


def probe(*, one_node: bool = False, wanted: Obj | None = None) -> Obj:
    reported = ProbeTask(namespace="shop", repository="store", repository_uid="uid-1")
    spec = BackupRepositorySpec.model_validate(sample.repository(podTemplate=wanted or {})["spec"])
    labels = probe_labels(sample.repository())
    return build_probe_template(reported, labels=labels, repository=spec, one_node=one_node, settings=SETTINGS)


@pytest.mark.parametrize("built", [template(), probe()], ids=["worker", "probe"])
def test_pods_fit_the_restricted_standard_and_hold_no_token(built: Obj) -> None:
    spec = built["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    containers = [container, *spec.get("initContainers", [])]
    for item in containers:
        assert item["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert item["resources"] == SETTINGS.worker_resources
    assert spec["automountServiceAccountToken"] is False
    assert not any("hostPath" in volume for volume in spec["volumes"])
    assert not any("hostPort" in port for port in container["ports"])
    mounts = {mount["name"] for item in containers for mount in item["volumeMounts"]}
    assert mounts == {volume["name"] for volume in spec["volumes"]}
    assert spec["restartPolicy"] == "Never"


def test_where_things_are_is_what_the_contract_says() -> None:
    (container,) = template(tls={"caSecretRef": {"name": "ca", "key": "bundle.pem"}})["spec"]["containers"]
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert paths["repository"] == contract.REPOSITORY_DIR
    assert paths["credentials"] == contract.CREDENTIALS_DIR
    assert contract.TASK_FILE.startswith(paths["task"] + "/")
    assert contract.CA_BUNDLE_FILE.startswith(paths["ca"] + "/")
    assert container["terminationMessagePath"] == contract.TERMINATION_FILE
    environment = {entry["name"] for entry in container["env"]}
    assert environment == {"POD_UID", "POD_IP", "NODE_IP", "NODE_NAME", "BACKUP_NAME", *contract.ALLOCATOR}


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_the_worker_logs_in_the_format_of_the_controller(log_format: Literal["json", "text"]) -> None:
    built = template(settings=SETTINGS.model_copy(update={"log_format": log_format}))
    (container,) = built["spec"]["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    environment |= {"POD_UID": "u", "POD_IP": "192.0.2.1"}
    assert WorkerSettings.from_env(environment).log_format == log_format


def test_the_ca_is_mounted_under_the_name_that_the_worker_reads() -> None:
    built = template(tls={"caSecretRef": {"name": "ca", "key": "bundle.pem"}})
    (volume,) = [volume for volume in built["spec"]["volumes"] if volume["name"] == "ca"]
    assert volume["secret"]["items"] == [{"key": "bundle.pem", "path": contract.CA_BUNDLE_FILE.rsplit("/", 1)[1]}]
    assert not [volume for volume in template()["spec"]["volumes"] if volume["name"] == "ca"]


def test_the_container_that_runs_qemu_mounts_no_secret() -> None:
    spec = template()["spec"]
    secrets = {volume["name"] for volume in spec["volumes"] if "secret" in volume}
    (worker,), (init,) = spec["containers"], spec["initContainers"]
    assert secrets == {"secret"}
    assert not secrets & {mount["name"] for mount in worker["volumeMounts"]}
    assert {mount["name"] for mount in init["volumeMounts"]} == {"secret", "credentials"}, "and the other no repository"
    (memory,) = [volume["emptyDir"] for volume in spec["volumes"] if volume["name"] == "credentials"]
    assert memory["medium"] == "Memory"
    *_, source, target = init["command"]
    assert source.startswith(f"{contract.SECRET_DIR}/")
    assert target == contract.CREDENTIALS_DIR


def test_a_probe_gets_no_credentials() -> None:
    assert {volume["name"] for volume in probe()["spec"]["volumes"]} == {"task", "repository", "scratch"}


def test_one_that_is_to_adopt_only_needs_nothing_of_the_appliances() -> None:
    """A Secret that has gone would keep it from starting."""
    spec = template(adopt_only=True, tls={"caSecretRef": {"name": "ca", "key": "bundle.pem"}})["spec"]
    assert {volume["name"] for volume in spec["volumes"]} == {"task", "repository", "scratch"}
    assert "initContainers" not in spec
    assert [port["name"] for port in spec["containers"][0]["ports"]] == ["status"]


def test_each_disk_has_its_port() -> None:
    (container,) = template(host_ports=(10100, 10107))["spec"]["containers"]
    ports = {port["name"]: (port["containerPort"], port.get("hostPort")) for port in container["ports"]}
    assert ports == {"status": (8080, None), "nbd-0": (10809, 10100), "nbd-1": (10810, 10107)}


def test_users_and_groups_are_the_repositorys() -> None:
    context = template(security={"runAsUser": 7, "runAsGroup": 8, "fsGroup": 9, "supplementalGroups": [10]})["spec"][
        "securityContext"
    ]
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (7, 8, 9)
    assert context["supplementalGroups"] == [10]
    assert context["fsGroupChangePolicy"] == "OnRootMismatch"


def test_options_of_the_installation() -> None:
    settings = SETTINGS.model_copy(update={"image_pull_secrets": ("pull",), "worker_priority_class": "low"})
    spec = template(settings=settings)["spec"]
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["priorityClassName"] == "low"
    assert not {"imagePullSecrets", "priorityClassName"} & template()["spec"].keys()


@pytest.mark.parametrize("build", [template, probe])
def test_where_a_volume_can_be_on_one_node_only_all_go_there(build: Callable[..., Obj]) -> None:
    built = build(one_node=True)
    (term,) = built["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert "namespaces" not in term, "of its own namespace"
    for other in (template(), probe()):  # itself too, or the first one could never start
        assert term["labelSelector"]["matchLabels"].items() <= other["metadata"]["labels"].items()
    assert "affinity" not in build()["spec"]


def job() -> Obj:
    return build_worker_job(BACKUP, template(), LABELS, retries=3, deadline_seconds=77)


def test_the_job_keeps_one_writer_a_chain() -> None:
    spec = job()["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["podReplacementPolicy"]) == (3, 77, "Failed")
    fail, ignore = spec["podFailurePolicy"]["rules"]
    assert fail["onExitCodes"]["values"] == [ExitCode.FATAL]
    assert fail["onExitCodes"]["containerName"] == spec["template"]["spec"]["containers"][0]["name"]
    assert (ignore["action"], ignore["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert "ttlSecondsAfterFinished" not in spec  # only once its answer has been read


def test_labels_are_the_same_on_job_and_pods_and_are_valid() -> None:
    found = job()
    assert found["metadata"]["labels"] == LABELS
    assert LABELS.items() <= found["spec"]["template"]["metadata"]["labels"].items()
    assert all(len(value) <= 63 for value in LABELS.values())
    assert found["metadata"]["ownerReferences"][0]["uid"] == BACKUP["metadata"]["uid"]


def test_the_task_can_be_read_back() -> None:
    assert task_of(job()) == task()


@pytest.mark.parametrize("annotations", [None, {}, {names.ANNOTATION_TASK: "{"}, {names.ANNOTATION_TASK: "{}"}])
def test_a_job_without_a_task(annotations: Obj | None) -> None:
    found = sample.job()
    found["spec"]["template"]["metadata"] = {"annotations": annotations}
    assert task_of(found) is None


def test_a_probe_job_is_tried_once_and_bounded() -> None:
    found = build_probe_job(sample.repository(), probe(), probe_labels(sample.repository()), deadline_seconds=60)
    assert (found["spec"]["backoffLimit"], found["spec"]["activeDeadlineSeconds"]) == (0, 60)
    reported = json.loads(found["spec"]["template"]["metadata"]["annotations"][names.ANNOTATION_TASK])
    assert ProbeTask.model_validate(reported).repository_uid == "uid-1"


WANTED: Obj = {
    "labels": {"team": "storage"},
    "annotations": {"example.com/note": "nightly"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "backup", "operator": "Exists"}],
    "affinity": {
        "podAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}}
            ]
        }
    },
    "priorityClassName": "low",
    "resources": {"requests": {"cpu": 1}, "limits": {"memory": "2Gi"}},
}


@pytest.mark.parametrize("build", [template, probe])
def test_a_repository_says_more_of_all_its_pods(build: Callable[..., Obj]) -> None:
    built, plain = build(wanted=WANTED, one_node=True), build(one_node=True)
    spec = built["spec"]
    assert built["metadata"]["labels"] == {**plain["metadata"]["labels"], "team": "storage"}
    assert built["metadata"]["annotations"]["example.com/note"] == "nightly"
    assert (spec["nodeSelector"], spec["priorityClassName"]) == ({"disk": "ssd"}, "low")
    assert spec["tolerations"] == [{"key": "backup", "operator": "Exists"}]
    pods = spec["affinity"]["podAffinity"]
    assert pods["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]["topologyKey"] == "zone"
    assert pods["requiredDuringSchedulingIgnoredDuringExecution"], "and what ties them to the volume's node is there"
    assert spec["securityContext"] == plain["spec"]["securityContext"]
    untouched = {"metadata", "nodeSelector", "priorityClassName", "tolerations", "affinity"}
    same = spec.keys() - untouched - {"containers", "initContainers"}
    assert {key: spec[key] for key in same} == {key: plain["spec"][key] for key in same}


def test_resources_of_a_repository_reach_each_container() -> None:
    expected = {"requests": {"cpu": "1"}, "limits": {"memory": "2Gi"}}
    assert probe(wanted=WANTED)["spec"]["containers"][0]["resources"] == expected
    (init,) = template(wanted=WANTED)["spec"]["initContainers"]
    assert init["resources"] == expected


@pytest.mark.parametrize("build", [template, probe])
@pytest.mark.parametrize(
    ("field", "key", "value"),
    [
        ("annotations", "sidecar.istio.io/inject", "false"),
        ("annotations", "linkerd.io/inject", "disabled"),
        ("labels", "sidecar.istio.io/inject", "false"),
        ("labels", "kuma.io/sidecar-injection", "disabled"),
    ],
)
def test_pods_opt_out_of_injections(build: Callable[..., Obj], field: str, key: str, value: str) -> None:
    assert build()["metadata"][field][key] == value
    assert build(wanted={field: {key: "wanted"}})["metadata"][field][key] == "wanted", "who wants one says so"
