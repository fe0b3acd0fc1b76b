"""Check that a layer holds what was received. No I/O; each rule can only refuse a layer.

A layer that was written through an export records exactly what was written, zeroes included: written zeroes become
explicit zero clusters, and areas that were not written stay unallocated. `qemu-img check` examines none of this.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sendense_operator.task import BackupType, FullReason

_MIB: Final = 1 << 20
HANDSHAKES: Final = 16 << 10
"""Upper bound of the bytes that an export receives before the first write; fewer do not prove a write."""
_GREETINGS: Final = 4 << 10
"""Generous bound of the bytes of two connections' handshakes."""


class IntegrityReason(StrEnum):
    """Reasons for which a layer must not be committed; users see them as reasons of conditions."""

    WRITES_LOST = "WritesLost"
    INCOMPLETE_COPY = "IncompleteCopy"


@dataclass(frozen=True)
class Evidence:
    """What is known about one disk after its export was closed; sizes in bytes."""

    index: int
    virtual_size: int
    coverage: int
    """Bytes of the disk that the layer defines, zeroes included."""
    received_bytes: int | None
    """Received bytes, a lower bound; None if the kernel does not count them."""
    whole_disk: bool
    """Whether a full copy of this appliance writes every block of the disk."""
    on_parent: bool = False
    """Whether the layer was begun as an increment, so that areas it does not define show the parent."""
    copied_all: FullReason | None = None
    """Why the appliance copied the whole disk instead of an increment, as its requests show; None if it did not."""


@dataclass(frozen=True)
class IntegrityRefusal:
    """Why a disk must not be committed."""

    doubt: IntegrityReason
    message: str


def slack(received_bytes: int, *, once: bool) -> int:
    """Return how many received bytes may be missing in the layer: handshakes, and a header of 28 bytes per write.

    A write has 512 bytes or more. `once`: each area is written once, as an increment does; a full may repeat blocks.
    """
    if once:
        return _GREETINGS + received_bytes // 16
    return HANDSHAKES + received_bytes // 20 + min(64 * _MIB, received_bytes // 2)


def judge_layer(evidence: Evidence) -> IntegrityRefusal | None:
    """Return why a layer must not be committed, None if it may."""
    received_bytes, kept = evidence.received_bytes, evidence.coverage
    once = evidence.on_parent and evidence.copied_all is None
    if received_bytes is not None and kept < received_bytes - slack(received_bytes, once=once):
        return IntegrityRefusal(
            IntegrityReason.WRITES_LOST,
            f"disk {evidence.index}: {received_bytes} bytes were received, but the layer holds only {kept}: writes "
            "were lost between the export and the repository's storage",
        )
    if evidence.on_parent:
        return _judge_on_parent(evidence)
    if evidence.whole_disk and kept < evidence.virtual_size:
        return IntegrityRefusal(
            IntegrityReason.INCOMPLETE_COPY,
            f"disk {evidence.index}: the appliance reported the disk complete, but wrote only {kept} of "
            f"{evidence.virtual_size} bytes",
        )
    return None


def _judge_on_parent(evidence: Evidence) -> IntegrityRefusal | None:
    """Refuse a full copy into an increment's layer that does not cover the whole disk, whatever the appliance's traits.

    The parent's old data would show in the gaps.
    """
    if evidence.copied_all is None or evidence.coverage == evidence.virtual_size:
        return None
    return IntegrityRefusal(
        IntegrityReason.INCOMPLETE_COPY,
        f"disk {evidence.index}: the appliance copied the whole disk instead of its changes ({evidence.copied_all}), "
        f"but wrote only {evidence.coverage} of {evidence.virtual_size} bytes",
    )


def what_ran(evidence: Evidence) -> tuple[BackupType, FullReason | None]:
    """Return the kind of a layer that was not refused, and why it is a full if it was begun as an increment.

    A layer that covers its whole disk needs no parent, whatever the change-ID requests were.
    """
    if not evidence.on_parent:
        return BackupType.FULL, None
    if evidence.copied_all is not None:
        return BackupType.FULL, evidence.copied_all
    if evidence.coverage == evidence.virtual_size:
        return BackupType.FULL, FullReason.APPLIANCE_COPIED_ALL
    return BackupType.INCREMENTAL, None
