"""The kinds of objects that are read or written, and where the API server keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sendense_operator.api.v1alpha1 import names


@dataclass(frozen=True)
class Kind:
    """One kind of object: enough to build its URLs and its `apiVersion` and `kind` fields."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str = "") -> str:
        """URL path of one object, or of the collection (of all namespaces when `namespace` is None)."""
        parts = ["", "api" if "/" not in self.api_version else "apis", self.api_version]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        elif self.namespaced and name is not None:
            raise ValueError(f"a {self.kind} has a namespace")
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


BACKUP: Final = Kind(names.API_VERSION, "Backup", "backups")
BACKUP_CHAIN: Final = Kind(names.API_VERSION, "BackupChain", "backupchains")
BACKUP_POLICY: Final = Kind(names.API_VERSION, "BackupPolicy", "backuppolicies")
BACKUP_REPOSITORY: Final = Kind(names.API_VERSION, "BackupRepository", "backuprepositories")
PROTECTED_VM: Final = Kind(names.API_VERSION, "ProtectedVM", "protectedvms")
RESTORE: Final = Kind(names.API_VERSION, "Restore", "restores")
APPLIANCE: Final = Kind(names.API_VERSION, "VMwareAppliance", "vmwareappliances")

JOB: Final = Kind("batch/v1", "Job", "jobs")
POD: Final = Kind("v1", "Pod", "pods")
SERVICE: Final = Kind("v1", "Service", "services")
SECRET: Final = Kind("v1", "Secret", "secrets")
CLAIM: Final = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
VOLUME: Final = Kind("v1", "PersistentVolume", "persistentvolumes", namespaced=False)
NODE: Final = Kind("v1", "Node", "nodes", namespaced=False)
NAMESPACE: Final = Kind("v1", "Namespace", "namespaces", namespaced=False)
DEFINITION: Final = Kind(
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
)
STORAGE_CLASS: Final = Kind("storage.k8s.io/v1", "StorageClass", "storageclasses", namespaced=False)
NETWORK_POLICY: Final = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
EVENT: Final = Kind("v1", "Event", "events")
VIRTUAL_MACHINE: Final = Kind("kubevirt.io/v1", "VirtualMachine", "virtualmachines")
LEASE: Final = Kind("coordination.k8s.io/v1", "Lease", "leases")
