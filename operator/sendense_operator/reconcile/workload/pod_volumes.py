"""Volumes of workers' pods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from sendense_operator import task as contract
from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec
from sendense_operator.cluster.objects import Obj
from sendense_operator.restore_task import FILES, TARGETS_DIR, TLS_DIR, TLS_KEYS, target_folder

CREDENTIAL_KEYS: Final = ("username", "password")


@dataclass(frozen=True)
class Volume:
    """A volume and where the container sees it."""

    source: Obj
    mount: Obj


def task_volume() -> Volume:
    """Return the volume with the task, from the pod's annotation."""
    path = PurePosixPath(contract.TASK_FILE)
    field = {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{names.ANNOTATION_TASK}']"}
    return Volume(
        {"name": "task", "downwardAPI": {"items": [{"path": path.name, "fieldRef": field}]}},
        {"name": "task", "mountPath": str(path.parent), "readOnly": True},
    )


def repository_volume(repository: BackupRepositorySpec) -> Volume:
    """Return the volume of the repository's claim."""
    # No subPath: the kubelet would make a missing folder as root's. The worker makes it, as its task says.
    mount = {"name": "repository", "mountPath": contract.REPOSITORY_DIR}
    return Volume({"name": "repository", "persistentVolumeClaim": {"claimName": repository.claim_name}}, mount)


def target_volume(index: int, claim: str) -> Volume:
    """Return the volume of the claim that receives the disk with this index."""
    name = f"target-{index}"
    mount = {"name": name, "mountPath": f"{TARGETS_DIR}/{target_folder(index)}"}
    return Volume({"name": name, "persistentVolumeClaim": {"claimName": claim}}, mount)


def files_volume(claim: str) -> Volume:
    """Return the volume of the claim that receives all disks as files."""
    mount = {"name": FILES, "mountPath": f"{TARGETS_DIR}/{FILES}"}
    return Volume({"name": FILES, "persistentVolumeClaim": {"claimName": claim}}, mount)


def tls_volume(secret: str) -> Volume:
    """Return the volume with the key of an export, which the server reads at each handshake."""
    source = {"secretName": secret, "items": [{"key": TLS_KEYS, "path": TLS_KEYS}], "defaultMode": 0o440}
    return Volume({"name": "tls", "secret": source}, {"name": "tls", "mountPath": TLS_DIR, "readOnly": True})


def scratch_volume() -> Volume:
    """Return a volume for temporary files."""
    return Volume({"name": "scratch", "emptyDir": {}}, {"name": "scratch", "mountPath": "/tmp"})  # noqa: S108


def credentials_volume() -> Volume:
    """Return a volume in memory, which the worker empties as soon as it has read the credentials."""
    return Volume(
        {"name": "credentials", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "credentials", "mountPath": contract.CREDENTIALS_DIR},
    )


def secret_volume(appliance: VMwareApplianceSpec) -> Volume:
    """Return the volume with vCenter's credentials, which only an init container mounts."""
    items = [{"key": key, "path": key} for key in CREDENTIAL_KEYS]
    return Volume(
        {
            "name": "secret",
            "secret": {
                "secretName": appliance.vcenter.credentials_secret_ref.name,
                "items": items,
                "defaultMode": 0o440,
            },
        },
        {"name": "secret", "mountPath": contract.SECRET_DIR, "readOnly": True},
    )


def ca_volume(appliance: VMwareApplianceSpec) -> Volume:
    """Return the volume with the certificate authority of the appliance. Raises ValueError if it has none."""
    if appliance.tls is None:
        raise ValueError("the appliance has no CA")
    path = PurePosixPath(contract.CA_BUNDLE_FILE)
    reference = appliance.tls.ca_secret_ref
    return Volume(
        {
            "name": "ca",
            "secret": {"secretName": reference.name, "items": [{"key": reference.key, "path": path.name}]},
        },
        {"name": "ca", "mountPath": str(path.parent), "readOnly": True},
    )
