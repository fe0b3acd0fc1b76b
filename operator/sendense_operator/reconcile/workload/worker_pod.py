"""The pods of workers and probes: they fit Pod Security `restricted` and hold no token."""

from __future__ import annotations

import json
from typing import Final, TypeVar

from sendense_operator import task as contract
from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec, PodSecurity
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec
from sendense_operator.cluster.objects import Obj
from sendense_operator.consolidation_task import ConsolidationTask
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.reconcile.workload.pod_overrides import (
    maintenance_resources,
    merge_overrides,
    metadata,
    placement,
    resources_of,
)
from sendense_operator.reconcile.workload.pod_volumes import (
    CREDENTIAL_KEYS,
    Volume,
    ca_volume,
    credentials_volume,
    files_volume,
    repository_volume,
    scratch_volume,
    secret_volume,
    target_volume,
    task_volume,
    tls_volume,
)
from sendense_operator.restore_task import RestoreTask
from sendense_operator.task import BackupTask, ProbeTask, VerificationTask

_T = TypeVar("_T", ProbeTask, VerificationTask, ConsolidationTask, BackupTask)

CONTAINER = names.WORKER_CONTAINER
CREDENTIALS_CONTAINER: Final = "credentials"
"""The init container that hands the credentials over."""
_CONTAINER_SECURITY: Final[Obj] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

_STATUS: Final[Obj] = {"name": "status", "containerPort": names.STATUS_PORT, "protocol": "TCP"}


def build_worker_template(
    task: BackupTask,
    *,
    labels: dict[str, str],
    repository: BackupRepositorySpec,
    appliance: VMwareApplianceSpec,
    host_ports: tuple[int, ...],
    one_node: bool,
    resources: Obj,
    settings: Settings,
) -> Obj:
    """Return the pod template of a Backup's worker. One that is to adopt only calls nobody and opens no export.

    `resources` are the container's. `host_ports`: one per disk, or none.
    `one_node`: whether all pods of the repository have to be on one.
    """
    volumes = [task_volume(), repository_volume(repository), scratch_volume()]
    ports: list[Obj] = [_STATUS]
    if not task.adopt_only:
        volumes.append(credentials_volume())
        if appliance.tls is not None:
            volumes.append(ca_volume(appliance))
        ports += _export_ports(task, host_ports)
    template = _template(
        task.model_dump_json(by_alias=True),
        name=task.backup,
        labels=labels,
        volumes=volumes,
        ports=ports,
        repository=repository,
        one_node=one_node,
        resources=resources,
        settings=settings,
    )
    if not task.adopt_only:
        # As users want the worker's: a quota that asks for limits is satisfied, and the pod needs no more for it.
        wanted = resources_of(merge_overrides(settings.pod_defaults, repository.pod_template))
        _hand_credentials_over(template["spec"], appliance, wanted, settings)
    return template


def _hand_credentials_over(spec: Obj, appliance: VMwareApplianceSpec, resources: Obj, settings: Settings) -> None:
    """Let an init container copy the credentials for the worker, which mounts no Secret: `credential_isolation`."""
    secret = secret_volume(appliance)
    files = [f"{contract.SECRET_DIR}/{key}" for key in CREDENTIAL_KEYS]
    spec["volumes"].append(secret.source)
    spec["initContainers"] = [
        {
            "name": CREDENTIALS_CONTAINER,
            "image": settings.worker_image,
            "imagePullPolicy": settings.image_pull_policy,
            "command": ["install", "-m", "0400", *files, contract.CREDENTIALS_DIR],
            "resources": resources,
            "volumeMounts": [secret.mount, credentials_volume().mount],
            "securityContext": _CONTAINER_SECURITY,
        }
    ]


def _nbd_port(index: int) -> Obj:
    return {"name": f"nbd-{index}", "containerPort": names.NBD_BASE_PORT + index, "protocol": "TCP"}


def _export_ports(task: BackupTask, host_ports: tuple[int, ...]) -> list[Obj]:
    ports = []
    for disk in task.disks:
        port = _nbd_port(disk.index)
        if host_ports:
            port["hostPort"] = host_ports[disk.index]
        ports.append(port)
    return ports


def build_probe_template(
    task: ProbeTask, *, labels: dict[str, str], repository: BackupRepositorySpec, one_node: bool, settings: Settings
) -> Obj:
    """Return the pod template of a repository's probe. `one_node`: as for a worker."""
    return _template(
        task.model_dump_json(by_alias=True),
        name="",
        labels=labels,
        volumes=[task_volume(), repository_volume(repository), scratch_volume()],
        ports=[],
        repository=repository,
        one_node=one_node,
        resources=maintenance_resources(merge_overrides(settings.pod_defaults, repository.pod_template)),
        settings=settings,
    )


def build_chain_template(
    task: VerificationTask | ConsolidationTask,
    *,
    labels: dict[str, str],
    repository: BackupRepositorySpec,
    one_node: bool,
    resources: Obj,
    settings: Settings,
) -> Obj:
    """Return the pod template of a Job that works on a chain. `one_node`, `resources`: as for a worker."""
    return _template(
        task.model_dump_json(by_alias=True),
        name="",
        labels=labels,
        volumes=[task_volume(), repository_volume(repository), scratch_volume()],
        ports=[_STATUS],
        repository=repository,
        one_node=one_node,
        resources=resources,
        settings=settings,
    )


def build_restore_template(
    task: RestoreTask,
    *,
    labels: dict[str, str],
    repository: BackupRepositorySpec,
    one_node: bool,
    resources: Obj,
    tls_secret: str,
    settings: Settings,
) -> Obj:
    """Return the pod template of a restore. `one_node`, `resources`: as for a worker.

    `tls_secret`: name of the Secret with the key of the exports, for a task that serves with TLS or has a sender.
    """
    if task.file is not None:
        targets = [files_volume(task.disks[0].claim)]
    else:
        targets = [target_volume(disk.index, disk.claim) for disk in task.disks if disk.claim]
    if task.serve_tls or task.sender:
        targets.append(tls_volume(tls_secret))
    source = [] if task.sender else [repository_volume(repository)]
    ports = [_nbd_port(disk.index) for disk in task.disks] if task.serve else []
    return _template(
        task.model_dump_json(by_alias=True),
        name="",
        labels=labels,
        volumes=[task_volume(), *source, scratch_volume(), *targets],
        ports=[_STATUS, *ports],
        repository=repository,
        one_node=one_node,
        resources=resources,
        settings=settings,
    )


def _template(
    task: str,
    *,
    name: str,
    labels: dict[str, str],
    volumes: list[Volume],
    ports: list[Obj],
    repository: BackupRepositorySpec,
    one_node: bool,
    resources: Obj,
    settings: Settings,
) -> Obj:
    wanted = merge_overrides(settings.pod_defaults, repository.pod_template)
    container: Obj = {
        "name": CONTAINER,
        "image": settings.worker_image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": ["worker"],
        "env": _environment(name, settings.log_format),
        "ports": ports,
        "resources": resources,
        "volumeMounts": [volume.mount for volume in volumes],
        "terminationMessagePath": contract.TERMINATION_FILE,
        "terminationMessagePolicy": "File",
        "securityContext": _CONTAINER_SECURITY,
    }
    spec: Obj = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": settings.termination_grace_seconds,
        "securityContext": _pod_security(repository.pod_security),
        "containers": [container],
        "volumes": [volume.source for volume in volumes],
        **placement(wanted, beside=_beside_its_own(labels) if one_node else None),
    }
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in settings.image_pull_secrets]
    return {"metadata": metadata(wanted, labels, {names.ANNOTATION_TASK: task}), "spec": spec}


def _beside_its_own(labels: dict[str, str]) -> Obj:
    """Return the term of a pod affinity that lets a pod run only where others of its repository are.

    A volume that one node at a time can have is there. On any other one the pod would hang while its volume is being
    attached, and nobody moves it from there. The scheduler lets the first pod of all go anywhere, since it fits its own
    term. It sees no pod that has ended, but those of a node that is lost until Kubernetes lets them go: for as long the
    volume is held there too.
    """
    own = {"matchLabels": {names.LABEL_REPOSITORY: labels[names.LABEL_REPOSITORY]}}
    return {"labelSelector": own, "topologyKey": "kubernetes.io/hostname"}


def _environment(name: str, log_format: str | None) -> list[Obj]:
    fields = {
        "POD_UID": "metadata.uid",
        "POD_IP": "status.podIP",
        "NODE_IP": "status.hostIP",
        "NODE_NAME": "spec.nodeName",
    }
    env: list[Obj] = [
        {"name": key, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for key, path in fields.items()
    ]
    values = {
        "BACKUP_NAME": name,
        **contract.ALLOCATOR,
        **({contract.LOG_FORMAT_VARIABLE: log_format} if log_format else {}),
    }
    return [*env, *({"name": key, "value": value} for key, value in values.items())]


def _pod_security(security: PodSecurity) -> Obj:
    context: Obj = {
        "runAsNonRoot": True,
        "runAsUser": security.run_as_user,
        "runAsGroup": security.run_as_group,
        "fsGroup": security.fs_group,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if security.supplemental_groups:
        context["supplementalGroups"] = list(security.supplemental_groups)
    return context


def probe_task_of(job: Obj) -> ProbeTask | None:
    """Return the task that a repository's Job was made with; None when it is not readable."""
    return _task_of(job, ProbeTask)


def verification_task_of(job: Obj) -> VerificationTask | None:
    """Return the task that a verification's Job was made with; None when it is not readable."""
    return _task_of(job, VerificationTask)


def consolidation_task_of(job: Obj) -> ConsolidationTask | None:
    """Return the task that a consolidation's Job was made with; None when it is not readable."""
    return _task_of(job, ConsolidationTask)


def task_of(job: Obj) -> BackupTask | None:
    """Return the task that a worker's Job was made with; None when it is not readable."""
    return _task_of(job, BackupTask)


def _task_of(job: Obj, kind: type[_T]) -> _T | None:
    annotations = job["spec"]["template"]["metadata"].get("annotations") or {}
    try:
        return kind.model_validate(json.loads(annotations.get(names.ANNOTATION_TASK, "")))
    except ValueError:
        return None
