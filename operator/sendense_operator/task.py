"""The contract between controller and worker: task, answer and progress.

The task is an annotation of the pod, which the worker reads as a file through the downward API. The answer is the
container's termination message (at most 4096 bytes, a limit of the kubelet). Progress is read over HTTP while the pod
runs. None of them contains credentials.
"""

from __future__ import annotations

import json
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from sendense_operator import compact_encoding

TERMINATION_MESSAGE_LIMIT: Final = 4096
MAX_DISKS: Final = 64
_COMPRESSED: Final = "z:"
_NUMBERS: Final = "n:"
_UNPACKED_LIMIT: Final = 1 << 18
"""Largest decompressed answer in bytes; those of workers have less than 50 KiB."""
_TEXT_KEPT: Final = 512
"""Characters of a message that are kept in preference to change IDs."""

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


class BackupTask(Wire):
    """One backup of one VM."""

    kind: Literal["backup"] = "backup"
    namespace: str
    folder: str = ""
    """Folder of the namespace's chains in the repository; empty: `namespace`."""
    backup: str
    backup_uid: str
    vm: str
    """Name of the ProtectedVM, which is the chain's folder."""
    repository_id: str
    repository_path: str = ""
    """Folder of the volume that is the repository's root, a relative path without `..`; empty: the volume's root."""
    type: BackupType
    """Requested type; `on_missing_parent` applies to a disk of an incremental that can't be an increment."""
    on_missing_parent: MissingParent = MissingParent.FULL
    max_depth: Annotated[int, Field(ge=1, le=64)] = 32
    """Most layers of a disk, its full included."""
    parent_check: ParentCheck = ParentCheck.CONTENT
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
    """As in BackupTask."""
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
    """As in BackupTask; created if it does not exist."""
    expected_id: str | None = None
    """ID that the repository must have; None if it is not known yet, in which case an empty folder is initialized."""


class DiskAnswer(Wire):
    """One committed disk."""

    index: int
    key: int
    type: BackupType
    file: str
    """Path of the layer below the repository's root."""
    virtual_size: Bytes
    stored_bytes: Bytes = Field(alias="stored")
    """Bytes that the layer's file occupies."""
    guest_bytes: Bytes
    """Bytes of guest data in the layer, without zeroes and holes."""
    received_bytes: Bytes = Field(alias="transferred")
    """Bytes received from the appliance."""
    change_id: str = ""
    """Change ID of the disk; empty if it did not fit into the message, but then the manifest has it."""
    reason: str = ""
    """FullReason, if an increment was requested and a full was made."""
    parent: str = ""
    """For an increment: name of the Backup that it depends on."""
    parent_change_id: str = ""
    """For an increment: change ID of the parent; may be left out as `change_id` is."""
    depth: Annotated[int, Field(ge=1)] = 1
    """Number of layers that a restore of this disk reads, this one included."""


class Capacity(Wire):
    """Capacity of the file system that holds the repository, in bytes."""

    total: Bytes
    free: Bytes
    free_files: int | None = None
    """Number of files that can still be created (inodes); None if the file system has no such limit."""


class CatalogueSeal(Wire):
    """Number and digest of the records of a catalogue, against which a reader checks them."""

    records: Bytes
    """Number of records."""
    digest: str
    """blake3 of the records' JSON lines, in hex."""


_TYPES: Final = tuple(BackupType)
_WIDTHS: Final = {
    "index": 1, "key": 4, "depth": 1, "type": 1, "virtual_size": 6,
    "stored_bytes": 6, "guest_bytes": 6, "received_bytes": 6,
}  # fmt: skip
"""Bytes per number of a disk: 31 in all, so that those of 64 disks always fit."""


class Answer(Wire):
    """The termination message of a worker."""

    outcome: Literal["Completed", "Failed", "Cancelled"]
    reason: str = ""
    """Reason in CamelCase, which becomes the condition's reason."""
    message: str = ""
    """What happened and what to check, for the condition's message."""
    job_id: str = ""
    repository_id: str = ""
    manifest: str = ""
    """Path of the manifest below the repository's root."""
    disks: Annotated[tuple[DiskAnswer, ...], Field(max_length=MAX_DISKS)] = ()
    capacity: Capacity | None = None
    started: datetime | None = None
    finished: datetime | None = None
    adopted: bool = False
    """Whether an earlier attempt had already committed the restore point."""
    swept: int = 0
    """Number of leftover files that were removed."""
    catalogue: CatalogueSeal | None = None
    """For maintenance that removed or scanned: seal of the catalogue in the log."""
    left: str = ""
    """What an unsuccessful attempt left on the appliance and in vCenter, for a message to the user."""
    stuck_client: bool = False
    """Whether the VMA's client of this job hangs; it does so until the VMA is restarted."""

    def to_message(self) -> str:
        """Return the answer as a termination message of at most TERMINATION_MESSAGE_LIMIT bytes.

        It is compressed if necessary. If it still does not fit, parts are left out in this order: the end of a long
        message, the change IDs (from about 40 disks on; the manifest has them), the rest of the message, the names of
        parents and files. The rest always fits: a fixed number of bytes per disk, and one path. Raises ValueError for
        more than MAX_DISKS disks, or for a path that is longer than the layout of a repository allows.
        """
        text = self.model_dump_json(by_alias=True, exclude_defaults=True)
        if len(text.encode()) <= TERMINATION_MESSAGE_LIMIT:
            return text
        packed = _COMPRESSED + compact_encoding.to_text(self._by_columns().encode())
        if len(packed) <= TERMINATION_MESSAGE_LIMIT:
            return packed
        for field in ("parent_change_id", "change_id"):
            if len(self.message) <= _TEXT_KEPT and any(getattr(disk, field) for disk in self.disks):
                disks = tuple(disk.model_copy(update={field: ""}) for disk in self.disks)
                return self.model_copy(update={"disks": disks}).to_message()
        if self.message:
            return self.model_copy(update={"message": self.message[: len(self.message) // 2]}).to_message()
        return self._by_numbers(("reason", "parent", "file"))

    def _by_numbers(self, texts: tuple[str, ...]) -> str:
        """Return a message with a fixed number of bytes per disk, and as many of the fields `texts` as fit.

        The first of `texts` are left out first.
        """
        if len(self.disks) > MAX_DISKS:
            raise ValueError(f"the answer has {len(self.disks)} disks, but at most {MAX_DISKS} fit")
        whole = self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"disks"})
        whole["disks"] = {name: [getattr(disk, name) for disk in self.disks] for name in texts}
        head = json.dumps(whole, separators=(",", ":")).encode()
        rows = [{name: getattr(disk, name) for name in _WIDTHS} for disk in self.disks]
        numbers = compact_encoding.pack_numbers([row | {"type": _TYPES.index(row["type"])} for row in rows], _WIDTHS)
        packed = _NUMBERS + compact_encoding.to_text(head + b"\n" + numbers)
        if len(packed) <= TERMINATION_MESSAGE_LIMIT:
            return packed
        if not texts:
            raise ValueError(f"the answer for {len(self.disks)} disks has {len(packed)} bytes and does not fit")
        return self._by_numbers(texts[1:])

    def _by_columns(self) -> str:
        """Return JSON with a list per field of the disks, whose compressed size is a third smaller."""
        whole = self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"disks"})
        rows = [disk.model_dump(mode="json", by_alias=True) for disk in self.disks]
        whole["disks"] = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
        return json.dumps(whole, separators=(",", ":"))

    @classmethod
    def from_message(cls, text: str) -> Answer:
        """Return the answer in a termination message. Raises ValueError, of which pydantic's error is a subclass."""
        try:
            if text.startswith(_COMPRESSED):
                whole = json.loads(compact_encoding.from_text(text.removeprefix(_COMPRESSED), _UNPACKED_LIMIT))
                columns = whole["disks"]
            elif text.startswith(_NUMBERS):
                data = compact_encoding.from_text(text.removeprefix(_NUMBERS), _UNPACKED_LIMIT)
                head, _, numbers = data.partition(b"\n")
                whole = json.loads(head)
                columns = _columns(numbers) | whole["disks"]
            else:
                return cls.model_validate_json(text)
            whole["disks"] = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a worker's answer: {error}") from error
        return cls.model_validate(whole)


def _columns(numbers: bytes) -> dict[str, list[Any]]:
    """Return the numeric fields of all disks by name, and empty file names. Raises LookupError, ValueError."""
    columns: dict[str, list[Any]] = {**compact_encoding.unpack_numbers(numbers, _WIDTHS)}
    return columns | {"type": [_TYPES[at] for at in columns["type"]], "file": [""] * len(columns["type"])}


class Stage(StrEnum):
    """Stages of a worker."""

    STARTING = "Starting"
    CHECKING_PARENT = "CheckingParent"
    PREFLIGHT = "Preflight"
    WAITING_FOR_VMA = "WaitingForVMA"
    COPYING = "Copying"
    VERIFYING = "Verifying"
    COMMITTING = "Committing"
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
