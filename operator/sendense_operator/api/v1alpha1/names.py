"""Names that several programs share: labels, annotations, finalizers, job IDs.

Object names come from Kubernetes and are DNS-1123 labels of at most 63 characters (the CRDs enforce it), so they are
safe as label values and as folder names. Names that come from VMware are not, and appear here only as a hash
(`vm_key`, `vm_identity`).
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

GROUP: Final = "backup.sendense.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

FINALIZER: Final = f"{GROUP}/worker"
"""On a Backup or a Restore while its worker, or an object made for the worker, may exist."""
FINALIZER_RESTORE_POINT: Final = f"{GROUP}/restore-point"
"""On a Backup that may have a restore point, until its chain has recorded what happens to the files."""
FINALIZER_REMOVALS: Final = f"{GROUP}/removals"
"""On a BackupChain while restore points have to be removed from the repository."""

LABEL_COMPONENT: Final = f"{GROUP}/component"
LABEL_BACKUP: Final = f"{GROUP}/backup"
LABEL_BACKUP_UID: Final = f"{GROUP}/backup-uid"
LABEL_RESTORE: Final = f"{GROUP}/restore"
"""On a restore's Job and pods: the Restore."""
LABEL_EXPORT: Final = f"{GROUP}/export"
"""`true` on the Job of a Restore that only serves disks: it takes no slot."""
LABEL_VM: Final = f"{GROUP}/vm"
LABEL_REPOSITORY: Final = f"{GROUP}/repository"
LABEL_APPLIANCE: Final = f"{GROUP}/appliance"
LABEL_VM_KEY: Final = f"{GROUP}/vm-key"
LABEL_VM_IDENTITY: Final = f"{GROUP}/vm-identity"
"""On a worker's Job: identifies the VM across all ProtectedVMs, appliances and namespaces that back it up."""
LABEL_TYPE: Final = f"{GROUP}/type"
LABEL_PHASE: Final = f"{GROUP}/phase"
LABEL_DISCOVERED_BY: Final = f"{GROUP}/discovered-by"
"""On a ProtectedVM that discovery created: its VMwareAppliance. Discovery changes the spec of no other ProtectedVM."""
LABEL_ADOPTED: Final = f"{GROUP}/adopted"
"""`true` on a Backup whose restore point was found in the repository."""

LABEL_POLICY: Final = f"{GROUP}/policy"
"""On a Backup that a BackupPolicy created: the policy."""
LABEL_SCHEDULE: Final = f"{GROUP}/schedule"
"""On a Backup of a policy: the schedule; absent on one that was requested by the annotation."""

COMPONENT_WORKER: Final = "worker"
COMPONENT_PROBE: Final = "probe"
COMPONENT_VERIFICATION: Final = "verification"
COMPONENT_RESTORE: Final = "restore"
COMPONENT_CONSOLIDATION: Final = "consolidation"

ANNOTATION_TASK: Final = f"{GROUP}/task"
"""On a worker's pod: the task as JSON, mounted as a file by the downward API."""
ANNOTATION_SCAN: Final = f"{GROUP}/scan"
"""On a BackupRepository: a new value, such as the time, requests a scan now."""
ANNOTATION_DISCOVERY_LABELS: Final = f"{GROUP}/discovery-labels"
"""On a ProtectedVM: the keys of the labels that discovery set, sorted, separated by commas."""
ANNOTATION_VERIFY: Final = f"{GROUP}/verify"
"""On a Backup or a BackupChain: a new value, such as the time, requests that its restore points be read completely."""
ANNOTATION_CONSOLIDATE: Final = f"{GROUP}/consolidate"
"""On a BackupChain: a new value, such as the time, requests that its layers be merged now. On the Job: the value that
it answers."""
ANNOTATION_RUN: Final = f"{GROUP}/run"
"""On a BackupPolicy: a new value, such as the time, requests a Backup of each of its VMs now."""

WORKER_CONTAINER: Final = "worker"
"""Name of the operator's container in a worker's pod. Containers with other names were injected and are not trusted."""
STATUS_PORT: Final = 8080
"""TCP port of a worker's status and callback endpoint."""

NBD_BASE_PORT: Final = 10809
"""TCP port of disk 0's export inside the pod; disk N listens on this port plus N. IANA assigned 10809 to NBD."""

NAME_PATTERN: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_NAME = re.compile(NAME_PATTERN)
_JOB_ID_PREFIX: Final = "backup-"
_UID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


def is_object_name(text: str) -> bool:
    """Return whether `text` is a DNS-1123 label, and therefore safe as a folder name."""
    return _NAME.fullmatch(text) is not None


def last_path_element(vm_path: str) -> str:
    """Return the last element of a vCenter inventory path, by which a change-ID request names its VM."""
    return vm_path.rstrip("/").rsplit("/", 1)[-1]


def vm_key(vm_name: str) -> str:
    """Return a label value for a VMware name (any text, any length): 32 hex digits of its SHA-256."""
    return _digest(vm_name)


def vm_identity(vcenter_host: str, vm_path: str) -> str:
    """Return a label value for the VM at an inventory path of a vCenter: 32 hex digits."""
    host = vcenter_host.lower().removesuffix(":443")
    return _digest(f"{host}\0{vm_path.rstrip('/')}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def vma_job_id(pod_uid: str) -> str:
    """Return the VMA's job ID of one attempt: unique per pod, without `-disk<N>-` (vma-contract 2.2)."""
    return f"{_JOB_ID_PREFIX}{pod_uid}"


def pod_uid_of_job(job_id: str) -> str | None:
    """Return the pod UID from which `vma_job_id` derived the ID; None for a job ID of another origin."""
    uid = job_id.removeprefix(_JOB_ID_PREFIX)
    return uid if job_id.startswith(_JOB_ID_PREFIX) and _UID.fullmatch(uid) else None


def export_name(pod_uid: str, disk_index: int) -> str:
    """Return the NBD export name of one disk in one attempt; it must end in `disk<N>` (vma-contract 2.1)."""
    return f"{pod_uid}-disk{disk_index}"
