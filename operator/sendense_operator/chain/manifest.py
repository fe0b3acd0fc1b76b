"""The manifest of one restore point, whose rename commits all of its disks together.

Names and paths from VMware are stored as data only and never become paths of files. Times are in UTC.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from sendense_operator.answer import DiskAnswer
from sendense_operator.chain.digests import digest
from sendense_operator.chain.layout import check_backup, check_layer_path, digests_of
from sendense_operator.task import MAX_DISKS, BackupType, Bytes
from sendense_operator.vm_hardware import Hardware

FORMAT: Final = "sendense.io/manifest"
VERSION: Final = 1
CHUNK: Final = 4 << 20
"""Bytes of guest content per digest."""
MAX_TOOLS: Final = 64
"""Most entries of `tools`."""


_ERROR_TEXT: Final = 500
"""Characters that are kept of a validation error, which has a line per wrong field and may have megabytes."""


class ManifestError(ValueError):
    """The manifest can't be read."""


class NewerManifestError(ManifestError):
    """The manifest has a newer format: it is reported and not touched."""


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Digest(_Part):
    """Content digests of one disk as the guest sees it at this restore point."""

    algorithm: Literal["blake3"] = "blake3"
    chunk: Literal[4194304] = CHUNK
    root: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the concatenated digests of all chunks, in hex."""
    list: str
    """Path of the file with the chunks' digests, 32 bytes each, below the repository's root."""


class Parent(_Part):
    """The parent of an increment."""

    backup: str
    backup_uid: str
    file: str
    """Path of the parent's layer below the repository's root, in the same folder as the increment."""
    change_id: str
    """Change ID of the disk in the parent: the increment holds the changes since then."""

    @field_validator("file")
    @classmethod
    def _file(cls, value: str) -> str:
        check_layer_path(value)
        return value

    @model_validator(mode="after")
    def _names(self) -> Parent:
        """Check name and UID, which become fields of a Backup's status."""
        check_backup(self.backup, self.backup_uid)
        return self


class ManifestDisk(_Part):
    """One disk of a restore point, and its layer."""

    index: Annotated[int, Field(ge=0)]
    key: Annotated[int, Field(ge=0)]
    label: str = ""
    vmdk_path: str = ""
    type: BackupType
    """Kind of the layer, determined from the change-ID requests, the received bytes and the layer itself."""
    reason: str = ""
    """FullReason, if an increment was requested and a full was made."""
    file: str
    """Path of the layer below the repository's root."""
    virtual_size: Bytes
    stored_bytes: Bytes = Field(alias="stored")
    """Bytes that the layer's file occupies."""
    guest_bytes: Bytes
    """Bytes of guest data in this layer, without zeroes and holes."""
    coverage: Bytes
    """Bytes of the disk that this layer defines, zeroes included."""
    received_bytes: Bytes | None = Field(default=None, alias="received")
    """Bytes received from the appliance; None if the kernel did not count them. For a compacted layer it is then what
    the layer covered as it was received."""
    changed_bytes: Bytes | None = Field(default=None, alias="changed")
    """For a compacted increment: bytes that differ from the parent, zeroes included; None if nothing was compared."""
    compaction: str = ""
    """For an increment: CompactionResult. Text, because a later version may have further ones."""
    merged: Annotated[int, Field(ge=0)] = 0
    """Number of layers of removed restore points that were merged into this one."""
    change_id: str
    """Change ID of the disk at this restore point."""
    parent: Parent | None = None
    """None for a full, which depends on no other layer."""
    depth: Annotated[int, Field(ge=1)] = 1
    """Number of layers that a restore reads, this one included."""
    digest: Digest

    @field_validator("file")
    @classmethod
    def _file(cls, value: str) -> str:
        check_layer_path(value)
        return value

    def to_answer(self) -> DiskAnswer:
        """Return the disk's entry in a worker's answer."""
        return DiskAnswer(
            index=self.index,
            key=self.key,
            type=self.type,
            file=self.file,
            virtual_size=self.virtual_size,
            stored_bytes=self.stored_bytes,
            guest_bytes=self.guest_bytes,
            received_bytes=min(self.virtual_size, self.received_bytes or self.coverage),
            change_id=self.change_id,
            reason=self.reason,
            parent=self.parent.backup if self.parent else "",
            parent_change_id=self.parent.change_id if self.parent else "",
            depth=self.depth,
            changed_bytes=self.changed_bytes,
            compaction=self.compaction,
        )


class ManifestBackup(_Part):
    """The Backup object that made the restore point."""

    name: str
    uid: str
    namespace: str


class ManifestVM(_Part):
    """The VM whose disks these are."""

    name: str
    """Name of the ProtectedVM."""
    vmware_name: str
    vmware_path: str
    vmware_uuid: str = ""
    vcenter_host: str = ""
    datacenter: str = ""
    hardware: Hardware | None = None
    """None: the restore point is of a version that did not keep it."""


class Manifest(_Part):
    """One restore point."""

    format: Literal["sendense.io/manifest"] = FORMAT
    version: Literal[1] = VERSION
    backup: ManifestBackup
    vm: ManifestVM
    repository_id: str
    job_id: str
    attempt: str
    """UID of the pod that wrote it."""
    sequence: Annotated[int, Field(ge=0)] = 0
    """Position in the chain, which gives the order even if clocks were wrong. Larger than that of any earlier restore
    point, removed ones included; 0 in manifests of the first version."""
    started: datetime
    finished: datetime
    """When everything except this manifest was durable."""
    retain_until: AwareDatetime | None = None
    """Until when the restore point is immutable, reckoned from the API server's clock; see `chain.immutability`. None:
    it was committed without a time."""
    tools: Annotated[dict[str, str], Field(max_length=MAX_TOOLS)]
    """Versions of the tools by name."""
    disks: Annotated[tuple[ManifestDisk, ...], Field(min_length=1, max_length=MAX_DISKS)]

    def to_json(self) -> bytes:
        """Return the manifest's file content with its checksum. The same manifest always yields the same bytes."""
        data = self.model_dump(mode="json", by_alias=True)
        _leave_out(data, _OPTIONAL)
        _leave_out(data["vm"], _OPTIONAL_OF_VM)
        for disk in data["disks"]:
            _leave_out(disk, _OPTIONAL_OF_DISK)
        return _encode({**data, _CHECKSUM: _checksum(data)})

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Return the manifest in a file's content. Raises ManifestError; NewerManifestError for a newer format."""
        try:
            return cls._from_json(data)
        except RecursionError as error:
            raise ManifestError("the JSON is nested too deeply") from error

    @classmethod
    def _from_json(cls, data: bytes) -> Manifest:
        try:
            raw: Any = json.loads(data)
        except ValueError as error:
            raise ManifestError(f"not JSON: {error}") from error
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise ManifestError(f"not a manifest of the format {FORMAT}")
        version = raw.get("version")
        if isinstance(version, int) and version > VERSION:
            raise NewerManifestError(
                f"version {version} of the format {FORMAT}, but this operator supports versions up to {VERSION}"
            )
        checksum = raw.pop(_CHECKSUM, None)
        if checksum is None and raw.get("sequence"):
            # Manifests of the first version, which are all of fulls, have neither checksum nor sequence.
            raise ManifestError("it has no checksum: the file was changed or is damaged")
        if checksum is not None and checksum != _checksum(raw):
            raise ManifestError("its checksum is wrong: the file was changed or is damaged")
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise ManifestError(str(error)[:_ERROR_TEXT]) from error

    def files(self) -> tuple[str, ...]:
        """Return the paths of the layers and digest lists that belong to this restore point. Raises LayoutError."""
        layers = [check_layer_path(disk.file) for disk in self.disks]
        return tuple(str(path) for layer in layers for path in (layer, digests_of(layer)))


_CHECKSUM: Final = "checksum"
_OPTIONAL: Final[Mapping[str, object]] = {"retainUntil": None}
"""Fields that are left out with this value, so that manifests of earlier versions stay as they are."""
_OPTIONAL_OF_VM: Final[Mapping[str, object]] = {"hardware": None}
"""The same of the VM."""
_OPTIONAL_OF_DISK: Final[Mapping[str, object]] = {"changed": None, "compaction": "", "merged": 0}
"""The same of a disk."""


def _leave_out(part: dict[str, Any], optional: Mapping[str, object]) -> None:
    for name, absent in optional.items():
        if part[name] == absent:
            del part[name]


def _encode(data: dict[str, Any]) -> bytes:
    return (json.dumps(data, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode()


def _checksum(data: dict[str, Any]) -> str:
    """Return the checksum of all fields except itself, unknown ones included.

    It is needed because one wrong digit in a change ID would lose data.
    """
    return digest(_encode(data)).hex()
