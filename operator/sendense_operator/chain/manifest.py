"""The manifest of one backup: the commit point, self-describing, all disks or none.

Everything about the VM that VMware chose (names, paths) is data in here and nothing else. Times are UTC.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from sendense_operator.chain.digests import digest
from sendense_operator.chain.layout import check_backup, check_layer_path, digests_of
from sendense_operator.task import MAX_DISKS, BackupType, Bytes, DiskAnswer

FORMAT: Final = "sendense.io/manifest"
VERSION: Final = 1
CHUNK: Final = 4 << 20
"""Bytes of guest content under one digest."""
MAX_TOOLS: Final = 64
"""Versions in one manifest."""


_ERROR_TEXT: Final = 500
"""Characters of what is wrong: one line per wrong field may come to megabytes."""


class ManifestError(ValueError):
    """Not a manifest that can be read."""


class NewerManifestError(ManifestError):
    """Written by a newer version: to be left alone and reported."""


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Digest(_Part):
    """Content digests of one disk as the guest sees it at this restore point."""

    algorithm: Literal["blake3"] = "blake3"
    chunk: Literal[4194304] = CHUNK
    root: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the concatenated digests of all chunks."""
    list: str
    """File with the digests of the chunks, 32 bytes each; path below the repository's root."""


class Parent(_Part):
    """What an incremental layer depends on."""

    backup: str
    backup_uid: str
    file: str
    """Path of the parent's layer below the repository's root: a sibling of this layer."""
    change_id: str
    """Where the increment began: the parent's own change id of this disk."""

    @field_validator("file")
    @classmethod
    def _file(cls, value: str) -> str:
        check_layer_path(value)
        return value

    @model_validator(mode="after")
    def _names(self) -> Parent:
        """They become fields of a Backup's status, which takes nothing else."""
        check_backup(self.backup, self.backup_uid)
        return self


class ManifestDisk(_Part):
    """One disk's layer."""

    index: Annotated[int, Field(ge=0)]
    key: Annotated[int, Field(ge=0)]
    label: str = ""
    vmdk_path: str = ""
    type: BackupType
    """What ran: known from the requests, the bytes and the image."""
    reason: str = ""
    """A FullReason where an increment was wanted and a full was made."""
    file: str
    """Path of the layer below the repository's root."""
    virtual_size: Bytes
    stored_bytes: Bytes = Field(alias="stored")
    """Bytes allocated by the layer's file."""
    guest_bytes: Bytes
    """Bytes of this layer that hold data, neither zeroes nor holes."""
    coverage: Bytes
    """Bytes of the disk that this layer says something about, zeroes included."""
    received_bytes: Bytes | None = Field(default=None, alias="received")
    """Bytes that came in over the export's connections; None where the kernel did not tell."""
    change_id: str
    parent: Parent | None = None
    """None: a full, which shares no byte with what came before."""
    depth: Annotated[int, Field(ge=1)] = 1
    """Layers that have to be read, this one counted."""
    digest: Digest

    @field_validator("file")
    @classmethod
    def _file(cls, value: str) -> str:
        check_layer_path(value)
        return value

    def to_answer(self) -> DiskAnswer:
        """Return what a worker tells of this disk."""
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
        )


class ManifestBackup(_Part):
    """The Kubernetes object."""

    name: str
    uid: str
    namespace: str


class ManifestVM(_Part):
    """Whose disks these are."""

    name: str
    """Name of the ProtectedVM."""
    vmware_name: str
    vmware_path: str
    vmware_uuid: str = ""
    vcenter_host: str = ""
    datacenter: str = ""


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
    """Grows with each restore point of the chain, deleted ones counted: their order, whatever the clocks said."""
    started: datetime
    finished: datetime
    """When everything but this manifest was durable."""
    tools: Annotated[dict[str, str], Field(max_length=MAX_TOOLS)]
    """Versions of what took part."""
    disks: Annotated[tuple[ManifestDisk, ...], Field(min_length=1, max_length=MAX_DISKS)]

    def to_json(self) -> bytes:
        """Canonical: the same manifest gives the same bytes. Holds its own checksum."""
        data = self.model_dump(mode="json", by_alias=True)
        return _encode({**data, _CHECKSUM: _checksum(data)})

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Inverse of `to_json`. Raises ManifestError, NewerManifestError for a later version."""
        try:
            return cls._from_json(data)
        except RecursionError as error:
            raise ManifestError("nested too deeply") from error

    @classmethod
    def _from_json(cls, data: bytes) -> Manifest:
        try:
            raw: Any = json.loads(data)
        except ValueError as error:
            raise ManifestError(f"not JSON: {error}") from error
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise ManifestError(f"not a {FORMAT}")
        version = raw.get("version")
        if isinstance(version, int) and version > VERSION:
            raise NewerManifestError(f"{FORMAT} version {version}: this program reads up to {VERSION}")
        said = raw.pop(_CHECKSUM, None)
        if said is None and raw.get("sequence"):
            # Those of the first version, all of them fulls, have neither; they are as good as ever.
            raise ManifestError("it has no checksum: the file was changed or is damaged")
        if said is not None and said != _checksum(raw):
            raise ManifestError("its checksum does not fit: the file was changed or is damaged")
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise ManifestError(str(error)[:_ERROR_TEXT]) from error

    def files(self) -> tuple[str, ...]:
        """Return all files this manifest owns but itself, below the repository's root."""
        layers = [check_layer_path(disk.file) for disk in self.disks]
        return tuple(str(path) for layer in layers for path in (layer, digests_of(layer)))


_CHECKSUM: Final = "checksum"


def _encode(data: dict[str, Any]) -> bytes:
    return (json.dumps(data, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode()


def _checksum(data: dict[str, Any]) -> str:
    """Of all fields but itself, those of later versions included. One flipped digit of a change id would lose data."""
    return digest(_encode(data)).hex()
