"""What a repository's pod tells of restore points, when it is too much for a termination message.

Records go to the pod's log as numbered lines of packed JSON, among whatever else stands there; the seal in the
`Answer` says how many there must be and what they come to. Half a catalogue is none: its reader raises.

The kubelet keeps about 10 MiB of a log. A record of two disks takes some 150 bytes there, so the limit is at tens of
thousands of restore points; beyond it the catalogue never fits its seal, and nothing is concluded from it.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

from blake3 import blake3
from pydantic import Field, TypeAdapter, ValidationError

from sendense_operator.task import MAX_DISKS, Bytes, CatalogueSeal, DiskAnswer, Wire

PREFIX: Final = "sendense-catalogue"
_BATCH_BYTES: Final = 64 << 10
"""Of JSON packed into one line; a container's runtime splits lines of more than 16 KiB only in its own file."""
_UNPACKED_BYTES: Final = 1 << 20
"""Of one batch, at most: the writer's last record may be a long one."""
_LINE_BYTES: Final = 15 << 10


MAX_RECORDS: Final = 200_000
"""In one catalogue: more never fit a log that is whole."""
MAX_FOLDERS: Final = 256


class CatalogueError(ValueError):
    """The lines are not all of the catalogue, or not what was written."""


class PointRecord(Wire):
    """A restore point: a manifest that could be read."""

    kind: Literal["point"] = "point"
    vm: str
    """Name of the ProtectedVM: the chain's folder."""
    backup: str
    backup_uid: str
    manifest: str
    """Path below the repository's root."""
    sequence: int = 0
    started: datetime
    finished: datetime
    job_id: str
    vm_name: str = ""
    """Name in vCenter, cut to 256 characters. Untrusted text."""
    disks: Annotated[tuple[DiskAnswer, ...], Field(max_length=MAX_DISKS)]
    damage: str = ""
    """Why it can't be read as it was written; empty: nothing is known against it."""
    full_next: str = ""
    """A FullReason if no increment can depend on it, of the first disk that has one."""


class TombstoneRecord(Wire):
    """A removed restore point some of whose files are still there."""

    kind: Literal["tombstone"] = "tombstone"
    vm: str
    backup: str
    backup_uid: str
    stored_bytes: Bytes = Field(alias="stored")
    """Bytes that its files occupy."""
    needed_by: str = ""
    """A Backup whose restore point depends on it; empty: it could not be freed yet, since the chain is in use."""


class Obstacle(Wire):
    """What stopped freeing, removing or sweeping in a chain. Untrusted text but for the reason."""

    reason: str
    """CamelCase; see `Hindrance`."""
    doing: str = ""
    """What was stopped: freeing, removing, sweeping …"""
    file: str = ""
    """Path below the repository's root, where it is known."""
    message: str = ""
    """The system's words."""

    def describe(self) -> str:
        """For a person."""
        return ": ".join(part for part in (self.doing, self.file, self.message) if part)


class Hindrance(StrEnum):
    """Reasons of an obstacle."""

    MANIFEST_UNREADABLE = "ManifestUnreadable"
    MANIFEST_NEWER = "ManifestNewer"
    LISTING_CHANGED = "ListingChanged"
    """Files vanished while nobody else may write: the listing is stale."""
    CHAIN_BUSY = "ChainBusy"
    STORAGE_ERROR = "StorageError"
    READ_ONLY = "ReadOnly"
    REPOSITORY_FULL = "RepositoryFull"


MAX_OBSTACLES: Final = 8
"""That are reported per chain."""


class ChainRecord(Wire):
    """One chain that was checked."""

    kind: Literal["chain"] = "chain"
    vm: str
    complete: bool = True
    """False: a folder could not be listed. Then nothing may be concluded from a restore point that is not reported."""
    busy: bool = False
    """Whether somebody else may have been writing it: then it may commit a restore point that is not reported."""
    points: Bytes = 0
    unknown: Bytes = 0
    """Orphans that stay where they are."""
    quarantined: Bytes = 0
    """Files in its quarantine."""
    unreadable: Bytes = 0
    """Manifests that can't be read."""
    newer: Bytes = 0
    """Manifests of a newer format."""
    message: str = ""
    obstacles: Annotated[tuple[Obstacle, ...], Field(max_length=MAX_OBSTACLES)] = ()
    """What stopped the pod, the most important first."""

    @property
    def is_understood(self) -> bool:
        """Whether a restore point that is not reported does not exist: all was listed, and every manifest was read."""
        return self.complete and not (self.unreadable or self.newer)


class RootRecord(Wire):
    """What lies beside the chains."""

    kind: Literal["root"] = "root"
    complete: bool = True
    """False: the repository's folders could not all be listed."""
    unknown: Bytes = 0
    other_folders: Annotated[tuple[str, ...], Field(max_length=MAX_FOLDERS)] = ()
    """Folders of other namespaces that hold chains."""


Record = PointRecord | TombstoneRecord | ChainRecord | RootRecord
_RECORD: Final[TypeAdapter[Record]] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


class CatalogueWriter:
    """Packs records into lines; memory stays flat however many there are."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        """`emit` gets each line, without a line feed."""
        self._emit = emit
        self._digest = blake3()
        self._batch: list[bytes] = []
        self._size = self._records = self._lines = 0

    def add(self, record: Record) -> None:
        """One more record."""
        line = record.model_dump_json(by_alias=True, exclude_defaults=False).encode() + b"\n"
        self._digest.update(line)
        self._batch.append(line)
        self._size += len(line)
        self._records += 1
        if self._size >= _BATCH_BYTES:
            self._flush()

    def close(self) -> CatalogueSeal:
        """To be called once, after the last record."""
        self._flush()
        return CatalogueSeal(records=self._records, digest=self._digest.hexdigest())

    def _flush(self) -> None:
        packed = base64.b64encode(zlib.compress(b"".join(self._batch), 9)).decode()
        for start in range(0, len(packed) if self._batch else 0, _LINE_BYTES):
            more = "+" if start + _LINE_BYTES < len(packed) else "."
            self._emit(f"{PREFIX} {self._lines} {more} {packed[start : start + _LINE_BYTES]}")
            self._lines += 1
        self._batch, self._size = [], 0


def read_catalogue(log: Iterable[str], seal: CatalogueSeal) -> Iterator[Record]:
    """Yield the records in a pod's log, one by one. Nothing may be concluded from them before the last one has come.

    Raises CatalogueError, at the latest in the end, unless they are exactly those that were sealed.
    """
    if seal.records > MAX_RECORDS:
        raise CatalogueError(f"{seal.records} records; at most {MAX_RECORDS} are read")
    digest, count = blake3(), 0
    for batch in _batches(log):
        digest.update(batch)
        for line in batch.splitlines():
            count += 1
            if count > seal.records:
                raise CatalogueError(f"more than the {seal.records} records that were sealed are in the pod's log")
            yield _record(line)
    if count != seal.records or digest.hexdigest() != seal.digest:
        raise CatalogueError(f"{count} of {seal.records} records, or other ones, are in the pod's log")


def _record(line: bytes) -> Record:
    try:
        return _RECORD.validate_json(line)
    except ValidationError as error:
        raise CatalogueError(f"not a record: {error.errors(include_input=False)[0]['msg']}") from error


def _unpack(parts: list[str]) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        batch = unpacking.decompress(base64.b64decode("".join(parts), validate=True), _UNPACKED_BYTES)
    except (ValueError, zlib.error) as error:
        raise CatalogueError(f"a line of the catalogue can't be unpacked: {error}") from error
    if not unpacking.eof:
        raise CatalogueError(f"a line of the catalogue is cut short, or comes to more than {_UNPACKED_BYTES} bytes")
    return batch


def _batches(log: Iterable[str]) -> Iterable[bytes]:
    expected, parts = 0, list[str]()
    for line in log:
        words = line.split()
        if len(words) != 4 or words[0] != PREFIX:
            continue
        if words[1] != str(expected):
            raise CatalogueError(f"line {expected} of the catalogue is missing from the pod's log")
        expected += 1
        parts.append(words[3])
        if words[2] == ".":
            yield _unpack(parts)
            parts = []
    if parts:
        raise CatalogueError("the catalogue in the pod's log ends in the middle of a record")
