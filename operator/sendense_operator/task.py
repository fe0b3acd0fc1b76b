"""What a worker receives and what it answers: the contract between controller and worker.

A task travels as an annotation of the pod (read as a file by the downward API), an answer as the container's
termination message (4096 bytes, set by the kubelet), progress over HTTP while the pod runs. Credentials are
in none of them: they are mounted from their Secret.
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
"""Bytes of an unpacked answer; ours have less than 50 KiB."""
_TEXT_KEPT: Final = 512
"""Characters of a message text that matter more than change ids."""

TASK_FILE: Final = "/etc/sendense/task/task.json"
CREDENTIALS_DIR: Final = "/etc/sendense/credentials"
"""Holds the files `username` and `password` until the worker has read them."""
SECRET_DIR: Final = "/etc/sendense/secret"  # noqa: S105 - a path
"""Where the init container that fills CREDENTIALS_DIR sees the Secret. The worker does not mount it."""
CA_BUNDLE_FILE: Final = "/etc/sendense/ca/ca.crt"
REPOSITORY_DIR: Final = "/repository"
TERMINATION_FILE: Final = "/dev/termination-log"
LOG_FORMAT_VARIABLE: Final = "SENDENSE_LOG_FORMAT"
"""The worker's, with the format of the controller's own log; not set: the worker's default."""
CANCEL_PATH: Final = "/v1/cancel"
"""POST to a worker's status port: end the attempt, with the time that the VMA's client needs."""

Bytes = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


class Wire(BaseModel):
    """camelCase JSON, tolerant of fields that a newer side adds."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class ExitCode(IntEnum):
    """Exit codes of a worker; the Job's podFailurePolicy maps them."""

    COMPLETED = 0
    RETRY = 1
    """This attempt failed, another one may succeed."""
    FATAL = 42
    """No further attempt can help: the Job fails at once."""


class Exposure(StrEnum):
    """How the appliance reaches a worker's NBD exports."""

    POD_IP = "PodIP"
    NODE_PORT = "NodePort"
    HOST_PORT = "HostPort"


class BackupType(StrEnum):
    """What was copied of a disk."""

    FULL = "Full"
    INCREMENTAL = "Incremental"


class FullReason(StrEnum):
    """Why a disk was copied whole although an increment was wanted."""

    NO_PARENT = "NoParent"
    PARENT_UNVERIFIED = "ParentUnverified"
    DISK_RESIZED = "DiskResized"
    CHANGE_ID_REFUSED = "ChangeIDRefused"
    CBT_RESET = "CBTReset"
    APPLIANCE_COPIED_ALL = "ApplianceCopiedAll"
    NEW_DISK = "NewDisk"
    CHAIN_TOO_LONG = "ChainTooLong"


class MissingParent(StrEnum):
    """What to do with a disk that can't become an increment."""

    FULL = "Full"
    FAIL = "Fail"


class ParentCheck(StrEnum):
    """How a parent is proven before an increment is put on it."""

    CONTENT = "Content"
    """Structure, and every byte of the parent's content against its digests."""
    STRUCTURE = "Structure"
    """Each layer is there, has its size, its backing file and a clean `qemu-img check`."""


class TaskDisk(Wire):
    """One disk of the VM, by its position in the VM's device order."""

    index: Annotated[int, Field(ge=0)]
    key: Annotated[int, Field(ge=0)]
    """VMware's device key, such as 2000."""
    virtual_size: Bytes = Field(alias="size")
    port: Annotated[int, Field(ge=1, le=65535)]
    """The port that the appliance receives; the worker listens on NBD_BASE_PORT + index."""


class Clocks(Wire):
    """Seconds after which silence counts as failure, one per stage (vma-contract, "What follows", 7)."""

    first_sign: Seconds = 300
    """From the accepted start to the first progress report or ask."""
    first_sign_cbt: Seconds = 900
    """The same while CBT has to be turned on."""
    snapshot: Seconds = 1800
    """From the first progress report to the first request."""
    connect: Seconds = 120
    """From a request to a connection on the export."""
    reconnect: Seconds = 180
    """Without any connection while disks are missing."""
    stall: Seconds = 1800
    """Connected, but no byte arrives."""
    stall_unhealthy: Seconds = 300
    """The same while the appliance's health call fails too."""
    request: Seconds = 30
    """One HTTP call to the VMA."""
    cancel_increment: Seconds = 600
    """For which the export of a cancelled increment stays while data arrives: without it the VMA's client hangs."""
    vcenter: Seconds = 300
    """For which an attempt waits for a vCenter that went away after the Backup was let in."""
    cancel: Seconds = 17
    """Given to the VMA's client to notice that its export is gone (up to 11 s), and then to send telemetry (every
    5 s) if it is one that will never notice."""


class ApplianceTask(Wire):
    """The VMA to call."""

    url: str
    """Base URL, such as http://vma.example:8081."""
    vcenter_host: str
    vm_path: str
    """Inventory path, such as /DC1/vm/pgtest1. Untrusted text: it goes into the start call's body only."""
    datacenter: str
    zero_writes: Literal["Refuse", "Trust"] = "Refuse"
    full_coverage: Literal["WholeDisk", "AllocatedOnly"] = "WholeDisk"
    """Whether a full copy of this appliance writes each block of the disk, so that a gap is a lost write."""
    change_id_asks: Literal["AlwaysZero", "OwnDisk"] = "AlwaysZero"
    """Whether a request names the disk that it is for."""
    callback_retries: Literal["Never", "UntilAnswered"] = "Never"
    """Whether a callback that was not answered comes again."""


class BackupTask(Wire):
    """One backup of one VM."""

    kind: Literal["backup"] = "backup"
    namespace: str
    folder: str = ""
    """Folder of the namespace's chains in the repository; empty: `namespace`."""
    backup: str
    backup_uid: str
    vm: str
    """Name of the ProtectedVM, the chain's folder."""
    repository_id: str
    repository_path: str = ""
    """Folder below the mounted volume that is the repository's root; relative, no `..`; empty: the volume itself."""
    type: BackupType
    """What is wanted. Each disk of an incremental that can't be one becomes a full, or fails: `on_missing_parent`."""
    on_missing_parent: MissingParent = MissingParent.FULL
    max_depth: Annotated[int, Field(ge=1, le=64)] = 32
    """Layers that a disk may have, the full counted."""
    parent_check: ParentCheck = ParentCheck.CONTENT
    appliance: ApplianceTask
    exposure: Exposure
    allowed_from: Annotated[tuple[str, ...], Field(max_length=32)] = ()
    """Networks (CIDR) that may connect to the exports; empty: any."""
    advertised_host: str | None = None
    """Host that the appliance receives; None: the pod's or the node's own address, as the exposure says."""
    disks: Annotated[tuple[TaskDisk, ...], Field(min_length=1, max_length=MAX_DISKS)]
    clocks: Clocks = Clocks()
    min_free: Bytes = 1 << 30
    """Free bytes that the repository must keep: below, the copy is stopped."""
    adopt_only: bool = False
    """Answer from the manifest that an earlier worker committed; if there is none, fail and never call the VMA."""


class Removal(Wire):
    """A restore point that is to go."""

    vm: str
    """Name of the ProtectedVM."""
    backup: str
    backup_uid: str


MAX_REMOVALS: Final = 500
"""In one task: a pod's annotations hold 256 KiB."""


class ProbeTask(Wire):
    """Look after a repository: is it one, can it be written, how much room is there.

    Removes restore points, frees layers that nobody needs any more, sweeps stray partials. What is found of restore
    points goes to the pod's log, see `catalogue`.
    """

    kind: Literal["probe"] = "probe"
    namespace: str
    folder: str = ""
    """As in BackupTask."""
    remove: Annotated[tuple[Removal, ...], Field(max_length=MAX_REMOVALS)] = ()
    """Restore points to remove, by UID. One that is not there counts as removed."""
    scan: bool = False
    """Whether to list all restore points and to quarantine orphans; else only chains of `remove` are reported."""
    scan_request: str = ""
    """What asked for the scan, kept for the one who reads the answer."""
    repository: str
    repository_uid: str
    """Becomes the repository's id when the folder is empty."""
    repository_path: str = ""
    """As in BackupTask; made when it is missing."""
    expected_id: str | None = None


class DiskAnswer(Wire):
    """One committed disk."""

    index: int
    key: int
    type: BackupType
    file: str
    """Path below the repository's root."""
    virtual_size: Bytes
    stored_bytes: Bytes = Field(alias="stored")
    """Bytes allocated by the layer's file."""
    guest_bytes: Bytes
    """Bytes of the layer that hold guest data (not zeroes, not holes)."""
    received_bytes: Bytes = Field(alias="transferred")
    change_id: str = ""
    """Empty where it did not fit into the message: the manifest has it."""
    reason: str = ""
    """A FullReason where an increment was wanted and a full was made."""
    parent: str = ""
    """Of an increment: name of the Backup that it depends on."""
    parent_change_id: str = ""
    """Of an increment: where it began. Left out as `change_id` is."""
    depth: Annotated[int, Field(ge=1)] = 1
    """Layers that have to be read for this disk, this one counted."""


class Capacity(Wire):
    """Of the file system that holds the repository, in bytes."""

    total: Bytes
    free: Bytes
    free_files: int | None = None
    """Files that can still be created (inodes); None where the file system has no such limit."""


class CatalogueSeal(Wire):
    """What a catalogue on the log must come to."""

    records: Bytes
    digest: str
    """blake3 of the records' JSON lines, hex."""


_TYPES: Final = tuple(BackupType)
_WIDTHS: Final = {
    "index": 1, "key": 4, "depth": 1, "type": 1, "virtual_size": 6,
    "stored_bytes": 6, "guest_bytes": 6, "received_bytes": 6,
}  # fmt: skip
"""Bytes for the numbers of a disk: at most 64 * 31, which fits for certain."""


class Answer(Wire):
    """The termination message of a worker."""

    outcome: Literal["Completed", "Failed", "Cancelled"]
    reason: str = ""
    """CamelCase, becomes the condition's reason."""
    message: str = ""
    """For a person: what happened and what to look at."""
    job_id: str = ""
    repository_id: str = ""
    manifest: str = ""
    """Path below the repository's root."""
    disks: Annotated[tuple[DiskAnswer, ...], Field(max_length=MAX_DISKS)] = ()
    capacity: Capacity | None = None
    started: datetime | None = None
    finished: datetime | None = None
    adopted: bool = False
    """The manifest was already there: an earlier attempt had committed it."""
    swept: int = 0
    """Stray partials that were removed."""
    catalogue: CatalogueSeal | None = None
    """Of a probe that removed or scanned: seal of what it wrote to its log."""
    left: str = ""
    """Of a job that was given up: what is left of it on the appliance and in vCenter, for a person."""
    stuck_client: bool = False
    """The VMA's client of this job never noticed that its export is gone: it hangs until the VMA is restarted."""

    def to_message(self) -> str:
        """As a termination message of at most TERMINATION_MESSAGE_LIMIT bytes.

        Compressed where it must be. What still does not fit gives way in this order: the end of a long text, the change
        ids (from about 40 disks on; the manifest has them), the rest of the text, the parents' and the files' names.
        What remains then fits whatever it is: a fixed number of bytes per disk, and one path. Raises ValueError for
        more than MAX_DISKS disks, or for a path that the layout of a repository can't give.
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
        """With a fixed number of bytes per disk for its numbers, and those of its `texts` that fit, from the last."""
        if len(self.disks) > MAX_DISKS:
            raise ValueError(f"an answer for {len(self.disks)} disks, at most {MAX_DISKS} fit")
        whole = self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"disks"})
        whole["disks"] = {name: [getattr(disk, name) for disk in self.disks] for name in texts}
        head = json.dumps(whole, separators=(",", ":")).encode()
        rows = [{name: getattr(disk, name) for name in _WIDTHS} for disk in self.disks]
        numbers = compact_encoding.pack_numbers([row | {"type": _TYPES.index(row["type"])} for row in rows], _WIDTHS)
        packed = _NUMBERS + compact_encoding.to_text(head + b"\n" + numbers)
        if len(packed) <= TERMINATION_MESSAGE_LIMIT:
            return packed
        if not texts:
            raise ValueError(f"answer of {len(packed)} bytes for {len(self.disks)} disks does not fit")
        return self._by_numbers(texts[1:])

    def _by_columns(self) -> str:
        """As JSON with a list for each field of the disks, which compresses a third better."""
        whole = self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"disks"})
        rows = [disk.model_dump(mode="json", by_alias=True) for disk in self.disks]
        whole["disks"] = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
        return json.dumps(whole, separators=(",", ":"))

    @classmethod
    def from_message(cls, text: str) -> Answer:
        """Inverse of `to_message`. Raises ValueError for anything else (pydantic's error is one)."""
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
    """Return the fields of all disks; texts that may have been left out are empty. Raises LookupError, ValueError."""
    columns: dict[str, list[Any]] = {**compact_encoding.unpack_numbers(numbers, _WIDTHS)}
    return columns | {"type": [_TYPES[at] for at in columns["type"]], "file": [""] * len(columns["type"])}


class Stage(StrEnum):
    """Where a running worker is."""

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
    """Progress of one disk; `received_bytes` never falls while the attempt lasts."""

    index: int
    virtual_size: Bytes = Field(alias="size")
    received_bytes: Bytes = Field(alias="transferred")
    completed: bool = False
    rate: float = 0.0
    """Bytes a second, averaged over the last half minute; 0.0 for a disk that waits or is complete."""
    eta_seconds: int | None = None


class Progress(Wire):
    """GET /v1/status of a worker."""

    job_id: str
    stage: Stage
    started: datetime
    disks: Annotated[tuple[DiskProgress, ...], Field(max_length=MAX_DISKS)]
    rate: float = 0.0
    """Bytes a second, averaged over the last half minute."""
    eta_seconds: int | None = None
    connections: int = 0
    message: str = ""
    callbacks_missing: bool = False
    """The appliance copies, but none of its callbacks reaches this worker."""
