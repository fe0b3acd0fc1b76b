"""The contract between controller and worker: task and progress; the answer has a module of its own.

The task is an annotation of the pod, which the worker reads as a file through the downward API. Progress is read over
HTTP while the pod runs. Neither contains credentials.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

MAX_DISKS: Final = 64
MAX_IMMUTABLE_DAYS: Final = 36_500
"""Most days for which a restore point can be immutable: a hundred years."""

TASK_FILE: Final = "/etc/sendense/task/task.json"
CREDENTIALS_DIR: Final = "/etc/sendense/credentials"
"""Folder with the files `username` and `password` until the worker has read them."""
SECRET_DIR: Final = "/etc/sendense/secret"  # noqa: S105 - a path
"""Folder where the init container that fills CREDENTIALS_DIR mounts the Secret. The worker does not mount it."""
CA_BUNDLE_FILE: Final = "/etc/sendense/ca/ca.crt"
REPOSITORY_DIR: Final = "/repository"
TERMINATION_FILE: Final = "/dev/termination-log"
LOG_FORMAT_VARIABLE: Final = "SENDENSE_LOG_FORMAT"
"""Environment variable of the worker with the controller's log format; not set: the worker's default."""
ALLOCATOR: Final[Mapping[str, str]] = {
    "LD_PRELOAD": "libjemalloc.so.2",
    "MALLOC_CONF": "background_thread:true,dirty_decay_ms:1000,oversize_threshold:0,narenas:1,thp:always",
}
"""Environment of a worker, which its servers inherit: jemalloc, which keeps buffers of up to 32 MiB for a second.

QEMU allocates and frees a buffer per request, and so does libnbd per read. glibc returns such buffers to the kernel at
once, which then clears every page again for the next one; that took two thirds of a copy's time. Settings of glibc can
avoid that, too, but keep 60 MB per disk until the end.
"""
CANCEL_PATH: Final = "/v1/cancel"
"""Path on a worker's status port: a POST ends the attempt, which may take the time that the VMA's client needs."""

Bytes = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


class Wire(BaseModel):
    """Base of messages in camelCase JSON; unknown fields, which a newer version may add, are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class ExitCode(IntEnum):
    """Exit codes of a worker; the Job's podFailurePolicy maps them."""

    COMPLETED = 0
    RETRY = 1
    """The attempt failed, but another one may succeed."""
    FATAL = 42
    """No further attempt can succeed: the Job fails at once."""


class Exposure(StrEnum):
    """How the appliance reaches a worker's NBD exports."""

    POD_IP = "PodIP"
    NODE_PORT = "NodePort"
    HOST_PORT = "HostPort"


class BackupType(StrEnum):
    """Kind of a backup or of a layer."""

    FULL = "Full"
    INCREMENTAL = "Incremental"


class FullReason(StrEnum):
    """Reasons why a disk is copied in full although an increment was requested."""

    NO_PARENT = "NoParent"
    PARENT_UNVERIFIED = "ParentUnverified"
    DISK_RESIZED = "DiskResized"
    CHANGE_ID_REFUSED = "ChangeIDRefused"
    CBT_RESET = "CBTReset"
    APPLIANCE_COPIED_ALL = "ApplianceCopiedAll"
    NEW_DISK = "NewDisk"
    CHAIN_TOO_LONG = "ChainTooLong"


class MissingParent(StrEnum):
    """What to do if a disk can't become an increment."""

    FULL = "Full"
    FAIL = "Fail"


class ParentCheck(StrEnum):
    """How a parent is proven before an increment is based on it."""

    CONTENT = "Content"
    """As Structure; in addition, all of its content is compared with its digests."""
    STRUCTURE = "Structure"
    """Each layer exists, has the right size and backing file, and passes `qemu-img check`."""


class Compaction(StrEnum):
    """Whether increments are reduced to what differs from their parents."""

    AUTO = "Auto"
    """Where enough can be saved."""
    NEVER = "Never"


class Immutability(Wire):
    """What decides until when restore points are immutable; see `chain.immutability`."""

    now: AwareDatetime
    """Time by the API server's clock when the task was made. A pod's own clock never makes it later."""
    days: Annotated[int, Field(ge=1, le=MAX_IMMUTABLE_DAYS)] | None = None
    """`spec.immutability.days` of the BackupRepository; None: what is committed now is not immutable."""


class TaskDisk(Wire):
    """One disk of the VM."""

    index: Annotated[int, Field(ge=0)]
    """Disk index: position in the VM's device order."""
    key: Annotated[int, Field(ge=0)]
    """Device key, such as 2000."""
    virtual_size: Bytes = Field(alias="size")
    """Virtual size in bytes."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """Port that the appliance receives; the worker listens on NBD_BASE_PORT + index."""


class Clocks(Wire):
    """Seconds of silence after which an attempt fails, by stage (vma-contract 7.7), and other time limits."""

    first_sign: Seconds = 300
    """From the accepted start to the first progress report or change-ID request."""
    first_sign_cbt: Seconds = 900
    """The same if CBT has to be turned on first."""
    snapshot: Seconds = 1800
    """From the first progress report to the first change-ID request."""
    connect: Seconds = 120
    """From a change-ID request to a connection on the export."""
    reconnect: Seconds = 180
    """Without any connection while disks are incomplete."""
    stall: Seconds = 1800
    """With a connection, but without a byte received."""
    stall_unhealthy: Seconds = 300
    """The same while the appliance's health check also fails."""
    request: Seconds = 30
    """Timeout of one HTTP call to the VMA."""
    cancel_increment: Seconds = 600
    """How long a cancelled increment keeps its export while data arrives: without it, the VMA's client hangs."""
    vcenter: Seconds = 300
    """How long an attempt waits for a vCenter that can't be reached, although the Backup was started."""
    cancel: Seconds = 17
    """How long the worker waits for the VMA's client after its export was closed: up to 11 s until the client notices,
    then long enough for a telemetry call (every 5 s) that shows a client which hangs."""


class ApplianceTask(Wire):
    """The VMA to call."""

    url: str
    """Base URL, such as http://vma.example:8081."""
    vcenter_host: str
    vm_path: str
    """Inventory path, such as /DC1/vm/pgtest1. Untrusted text, which is used in calls to the VMA only."""
    datacenter: str
    zero_writes: Literal["Refuse", "Trust"] = "Refuse"
    full_coverage: Literal["WholeDisk", "AllocatedOnly"] = "WholeDisk"
    """Whether a full copy of this appliance writes each block of the disk, so that a gap is a lost write."""
    change_id_asks: Literal["AlwaysZero", "OwnDisk"] = "AlwaysZero"
    """Whether a change-ID request names the disk that it is for, or always disk 0."""
    callback_retries: Literal["Never", "UntilAnswered"] = "Never"
    """Whether the appliance repeats a callback that was not answered with 200."""


class ChainTask(Wire):
    """What every task about a chain says: where the chain is."""

    namespace: str
    folder: str = ""
    """Folder of the namespace's chains in the repository; empty: `namespace`."""
    vm: str
    """Name of the ProtectedVM, which is the chain's folder."""
    repository_id: str
    repository_path: str = ""
    """Folder of the volume that is the repository's root, a relative path without `..`; empty: the volume's root."""


class BackupTask(ChainTask):
    """One backup of one VM."""

    kind: Literal["backup"] = "backup"
    backup: str
    backup_uid: str
    type: BackupType
    """Requested type; `on_missing_parent` applies to a disk of an incremental that can't be an increment."""
    on_missing_parent: MissingParent = MissingParent.FULL
    max_depth: Annotated[int, Field(ge=1, le=64)] = 32
    """Most layers of a disk, its full included."""
    parent_check: ParentCheck = ParentCheck.CONTENT
    compaction: Compaction = Compaction.AUTO
    appliance: ApplianceTask
    exposure: Exposure
    allowed_from: Annotated[tuple[str, ...], Field(max_length=32)] = ()
    """Networks (CIDR) that may connect to the exports; empty: any."""
    advertised_host: str | None = None
    """Host that the appliance receives; None: the address of the pod or of the node, depending on the exposure."""
    disks: Annotated[tuple[TaskDisk, ...], Field(min_length=1, max_length=MAX_DISKS)]
    clocks: Clocks = Clocks()
    min_free: Bytes = 1 << 30
    """Bytes to keep free in the repository: the copy is stopped when less is free."""
    immutability: Immutability | None = None
    """None, from a controller of an earlier version: what has a time until which it is immutable stays so."""
    adopt_only: bool = False
    """Recovery attempt: answer from the manifest of an earlier attempt; if there is none, fail without a call to the
    VMA."""


class Removal(Wire):
    """A restore point to remove."""

    vm: str
    """Name of the ProtectedVM."""
    backup: str
    backup_uid: str


MAX_REMOVALS: Final = 500
"""Most removals of one task; a pod's annotations can have 256 KiB."""


class ProbeTask(Wire):
    """Maintenance of a repository.

    The worker checks that the repository is present and writable, and its capacity. It removes restore points, frees
    layers that no restore point needs, and sweeps partials. What it finds of restore points is written to the pod's log
    as a catalogue; see `catalogue_format`.
    """

    kind: Literal["probe"] = "probe"
    namespace: str
    folder: str = ""
    """As in ChainTask."""
    remove: Annotated[tuple[Removal, ...], Field(max_length=MAX_REMOVALS)] = ()
    """Restore points to remove, by UID. One that does not exist counts as removed."""
    scan: bool = False
    """Whether to list all restore points and to quarantine orphans; otherwise only chains of `remove` are reported."""
    scan_request: str = ""
    """Value of the annotation that requested the scan; not used by the worker, but by the reader of its answer."""
    repository: str
    """Name of the BackupRepository."""
    repository_uid: str
    """UID of the BackupRepository, which becomes the repository's ID if the folder is empty."""
    repository_path: str = ""
    """As in ChainTask; created if it does not exist."""
    expected_id: str | None = None
    """ID that the repository must have; None if it is not known yet, in which case an empty folder is initialized."""
    immutability: Immutability | None = None
    """As in BackupTask."""


class VerificationLevel(StrEnum):
    """How a restore point is verified."""

    STRUCTURE = "Structure"
    """Each layer exists, has the right size and backing file, and passes `qemu-img check`; the digest lists are
    complete."""
    CONTENT = "Content"
    """As Structure; in addition, all of its content is read and compared with its digests."""


class PointReference(Wire):
    """A restore point to verify or to restore."""

    backup: str
    backup_uid: str
    """UID of the Backup that made it."""


MAX_VERIFIED_POINTS: Final = 500
"""Most restore points of one task; a pod's annotations can have 256 KiB."""


class VerificationTask(ChainTask):
    """Verification of restore points of one chain, the newest first."""

    kind: Literal["verification"] = "verification"
    chain: str
    """Name of the BackupChain."""
    level: VerificationLevel
    points: Annotated[tuple[PointReference, ...], Field(min_length=1, max_length=MAX_VERIFIED_POINTS)]
    """The restore points, the newest first."""
    bytes_per_second: Annotated[int, Field(ge=1)] | None = None
    """Most bytes of content to read per second; None: no limit."""


class Stage(StrEnum):
    """Stages of a worker."""

    STARTING = "Starting"
    CHECKING_PARENT = "CheckingParent"
    PREFLIGHT = "Preflight"
    WAITING_FOR_VMA = "WaitingForVMA"
    COPYING = "Copying"
    VERIFYING = "Verifying"
    COMMITTING = "Committing"
    RESTORING = "Restoring"
    SERVING = "Serving"
    CONSOLIDATING = "Consolidating"
    CANCELLING = "Cancelling"
    DONE = "Done"


class DiskProgress(Wire):
    """Progress of one disk; `received_bytes` never decreases within an attempt."""

    index: int
    virtual_size: Bytes = Field(alias="size")
    received_bytes: Bytes = Field(alias="transferred")
    completed: bool = False
    rate: float = 0.0
    """Bytes per second, averaged over the last half minute; 0.0 for a disk that is not being copied."""
    eta_seconds: int | None = None
    """Estimated seconds until the disk is copied."""


class Progress(Wire):
    """GET /v1/status of a worker."""

    job_id: str
    stage: Stage
    started: datetime
    disks: Annotated[tuple[DiskProgress, ...], Field(max_length=MAX_DISKS)]
    rate: float = 0.0
    """Bytes per second, averaged over the last half minute."""
    eta_seconds: int | None = None
    """Estimated seconds until the copy ends."""
    connections: int = 0
    """Connections to all exports now."""
    message: str = ""
    """What the worker is doing or waiting for, for the Backup's status."""
    callbacks_missing: bool = False
    """Whether the appliance copies although none of its callbacks has reached this worker."""
