"""Format of a catalogue: what a maintenance Job reports about the content of a repository.

A catalogue is too large for a termination message, so its records are written to the pod's log, as numbered lines of
compressed JSON between other lines. The seal in the `Answer` has their number and digest. An incomplete catalogue is
not used: its reader raises.

The kubelet keeps about 10 MiB of a log. The record of a restore point with two disks takes about 150 bytes, so the
limit is tens of thousands of restore points. A larger catalogue never matches its seal, and nothing is concluded from
it.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

from blake3 import blake3
from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from sendense_operator.answer import CatalogueSeal, DiskAnswer
from sendense_operator.task import MAX_DISKS, Bytes, Wire
from sendense_operator.vm_hardware import Hardware

PREFIX: Final = "sendense-catalogue"
_BATCH_BYTES: Final = 64 << 10
"""Bytes of JSON after which a batch is compressed and written."""
_UNPACKED_BYTES: Final = 1 << 20
"""Largest batch in bytes of JSON; the last record of a batch may be long."""
_LINE_BYTES: Final = 15 << 10
"""Most characters of a batch in one line; container runtimes split lines of more than 16 KiB."""


MAX_RECORDS: Final = 200_000
"""Most records of a catalogue; a log never holds more of them completely."""
MAX_FOLDERS: Final = 256
"""Most folders of other namespaces in a catalogue."""


class CatalogueError(ValueError):
    """The log does not contain the complete catalogue, or another one."""


class PointRecord(Wire):
    """A restore point, which is a manifest that could be read."""

    kind: Literal["point"] = "point"
    vm: str
    """Name of the ProtectedVM, which is the chain's folder."""
    backup: str
    backup_uid: str
    manifest: str
    """Path of the manifest below the repository's root."""
    sequence: int = 0
    started: datetime
    finished: datetime
    job_id: str
    vm_name: str = ""
    """VM's name in vCenter, cut to 256 characters. Untrusted text."""
    disks: Annotated[tuple[DiskAnswer, ...], Field(max_length=MAX_DISKS)]
    damage: str = ""
    """What is damaged; empty if no damage is known."""
    full_next: str = ""
    """FullReason of the first disk that no increment can depend on; empty if there is none."""
    retain_until: AwareDatetime | None = None
    """Until when it is immutable, as its manifest says; None: its manifest has no time."""
    hardware: Hardware | None = None
    """The VM's hardware, as `Hardware.shown` has it; None: its manifest does not say."""


class TombstoneRecord(Wire):
    """A removed restore point whose files are not all freed."""

    kind: Literal["tombstone"] = "tombstone"
    vm: str
    backup: str
    backup_uid: str
    stored_bytes: Bytes = Field(alias="stored")
    """Bytes that its files occupy."""
    needed_by: str = ""
    """Name of a Backup whose restore point depends on it; empty if it could not be freed yet for another cause."""


class Obstacle(Wire):
    """A cause why freeing, removing or sweeping failed in a chain. All fields but the reason are untrusted text."""

    reason: str
    """Reason in CamelCase; see `ObstacleReason`."""
    doing: str = ""
    """Operation that failed, such as freeing, removing or sweeping."""
    file: str = ""
    """Path of the affected file below the repository's root; empty if not known."""
    message: str = ""
    """Message, usually the system's error text."""

    def describe(self) -> str:
        """Return the obstacle as text for a message."""
        return ": ".join(part for part in (self.doing, self.file, self.message) if part)


class ObstacleReason(StrEnum):
    """Reasons of an obstacle."""

    MANIFEST_UNREADABLE = "ManifestUnreadable"
    MANIFEST_NEWER = "ManifestNewer"
    LISTING_CHANGED = "ListingChanged"
    """Files vanished under the chain's lock, so the listing is stale."""
    CHAIN_BUSY = "ChainBusy"
    LAYER_PINNED = "LayerPinned"
    """A pod that verifies restore points is reading layers that could be freed otherwise."""
    RETAINED = "Retained"
    """A restore point is immutable, so neither it nor what it depends on is removed."""
    STORAGE_ERROR = "StorageError"
    READ_ONLY = "ReadOnly"
    REPOSITORY_FULL = "RepositoryFull"


PASSING: Final = frozenset({ObstacleReason.CHAIN_BUSY, ObstacleReason.LAYER_PINNED})
"""Reasons that pass by themselves, so that no event tells of them."""
MAX_OBSTACLES: Final = 8
"""Most obstacles that are reported per chain."""


class ChainRecord(Wire):
    """One chain that was surveyed."""

    kind: Literal["chain"] = "chain"
    vm: str
    """Name of the ProtectedVM, which is the chain's folder."""
    complete: bool = True
    """Whether the chain could be listed completely. If not, a restore point that is not reported may exist."""
    busy: bool = False
    """Whether another pod may have been writing the chain, and may commit a restore point that is not reported."""
    points: Bytes = 0
    """Number of restore points."""
    unknown: Bytes = 0
    """Number of orphans that stay where they are."""
    quarantined: Bytes = 0
    """Number of files in the quarantine."""
    unreadable: Bytes = 0
    """Number of manifests that can't be read."""
    newer: Bytes = 0
    """Number of manifests of a newer format."""
    message: str = ""
    """The obstacles as text."""
    obstacles: Annotated[tuple[Obstacle, ...], Field(max_length=MAX_OBSTACLES)] = ()
    """The obstacles, the most important first."""

    @property
    def is_understood(self) -> bool:
        """Whether all restore points of the chain are reported: all was listed, and every manifest was read."""
        return self.complete and not (self.unreadable or self.newer)


class RootRecord(Wire):
    """What the repository contains beside the chains."""

    kind: Literal["root"] = "root"
    complete: bool = True
    """Whether the repository's folders could be listed completely."""
    unknown: Bytes = 0
    """Number of entries that belong neither to the layout nor to a chain."""
    other_folders: Annotated[tuple[str, ...], Field(max_length=MAX_FOLDERS)] = ()
    """Folders of other namespaces that hold chains."""


Record = PointRecord | TombstoneRecord | ChainRecord | RootRecord
_RECORD: Final[TypeAdapter[Record]] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


class CatalogueWriter:
    """Writer of a catalogue; the memory that it needs does not grow with the number of records."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        """Initialize; `emit` receives each line, without a line feed."""
        self._emit = emit
        self._digest = blake3()
        self._batch: list[bytes] = []
        self._size = self._records = self._lines = 0

    def add(self, record: Record) -> None:
        """Add a record."""
        line = record.model_dump_json(by_alias=True, exclude_defaults=False).encode() + b"\n"
        self._digest.update(line)
        self._batch.append(line)
        self._size += len(line)
        self._records += 1
        if self._size >= _BATCH_BYTES:
            self._flush()

    def close(self) -> CatalogueSeal:
        """Write what is left, and return the seal. To be called once, after the last record."""
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
    """Yield the records in a pod's log, one by one. Nothing may be concluded from them before the iteration has ended.

    Raises CatalogueError, at the latest at the end, unless they are exactly those that were sealed.
    """
    if seal.records > MAX_RECORDS:
        raise CatalogueError(f"the catalogue has {seal.records} records, but at most {MAX_RECORDS} are supported")
    digest, count = blake3(), 0
    for batch in _batches(log):
        digest.update(batch)
        for line in batch.splitlines():
            count += 1
            if count > seal.records:
                raise CatalogueError(f"the pod's log has more than the {seal.records} records of the catalogue")
            yield _record(line)
    if count != seal.records:
        raise CatalogueError(f"the pod's log has only {count} of the {seal.records} records of the catalogue")
    if digest.hexdigest() != seal.digest:
        raise CatalogueError("the pod's log has other records than the catalogue's seal")


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
        raise CatalogueError(f"a line of the catalogue can't be decompressed: {error}") from error
    if not unpacking.eof:
        raise CatalogueError(f"a line of the catalogue is truncated, or has more than {_UNPACKED_BYTES} bytes")
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
        raise CatalogueError("the catalogue in the pod's log is truncated")
