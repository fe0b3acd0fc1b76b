"""Does a layer hold what arrived? Pure rules; every one of them can only refuse.

A layer written through our export tells exactly what was written, zeroes included: written zeroes become explicit
zero clusters, areas that nobody wrote stay absent. `qemu-img check` sees none of this.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sendense_operator.task import BackupType, FullReason

_MIB: Final = 1 << 20
HANDSHAKES: Final = 16 << 10
"""Bytes of an export's connections before the first write, at most: what is below is no proof of a write."""
_GREETINGS: Final = 4 << 10
"""What the handshakes of two connections come to, several times over."""


class IntegrityReason(StrEnum):
    """Why a layer must not be committed; also the reason shown to the user."""

    WRITES_LOST = "WritesLost"
    INCOMPLETE_COPY = "IncompleteCopy"


@dataclass(frozen=True)
class Evidence:
    """What is known about one disk after its export was closed; all in bytes."""

    index: int
    virtual_size: int
    coverage: int
    """What the layer says something about."""
    received_bytes: int | None
    """What came in over its connections, a lower bound; None where the kernel did not tell."""
    whole_disk: bool
    """A full copy of an appliance that writes every block of the disk."""
    on_parent: bool = False
    """The layer was begun as an increment: what it does not say shows the parent."""
    copied_all: FullReason | None = None
    """Of such a layer: why the appliance copied the whole disk, if its requests say that it did."""


@dataclass(frozen=True)
class IntegrityRefusal:
    """The verdict on a disk that must not be committed."""

    doubt: IntegrityReason
    message: str


def slack(received_bytes: int, *, once: bool) -> int:
    """Return received bytes that are not in the layer: handshakes, and 28 bytes per write of 512 bytes or more.

    `once`: an increment writes each area once. A full may write a block again that it could not send at first.
    """
    if once:
        return _GREETINGS + received_bytes // 16
    return HANDSHAKES + received_bytes // 20 + min(64 * _MIB, received_bytes // 2)


def judge_layer(evidence: Evidence) -> IntegrityRefusal | None:
    """None when nothing speaks against the layer."""
    received_bytes, kept = evidence.received_bytes, evidence.coverage
    once = evidence.on_parent and evidence.copied_all is None
    if received_bytes is not None and kept < received_bytes - slack(received_bytes, once=once):
        return IntegrityRefusal(
            IntegrityReason.WRITES_LOST,
            f"disk {evidence.index}: {received_bytes} bytes arrived but the layer holds only {kept}: writes were lost "
            "between the export and the repository's storage",
        )
    if evidence.on_parent:
        return _judge_on_parent(evidence)
    if evidence.whole_disk and kept < evidence.virtual_size:
        return IntegrityRefusal(
            IntegrityReason.INCOMPLETE_COPY,
            f"disk {evidence.index}: the appliance called it complete, but wrote {kept} of "
            f"{evidence.virtual_size} bytes",
        )
    return None


def _judge_on_parent(evidence: Evidence) -> IntegrityRefusal | None:
    """Require that a full copy into an increment covers the parent completely, whatever the appliance can do."""
    if evidence.copied_all is None or evidence.coverage == evidence.virtual_size:
        return None
    return IntegrityRefusal(
        IntegrityReason.INCOMPLETE_COPY,
        f"disk {evidence.index}: the appliance copied it whole instead of its changes ({evidence.copied_all}), but "
        f"wrote {evidence.coverage} of {evidence.virtual_size} bytes",
    )


def what_ran(evidence: Evidence) -> tuple[BackupType, FullReason | None]:
    """Return what a layer that was not refused is, and why it is a full if it was begun as an increment.

    A layer that covers its whole disk needs no parent, whatever the requests were.
    """
    if not evidence.on_parent:
        return BackupType.FULL, None
    if evidence.copied_all is not None:
        return BackupType.FULL, evidence.copied_all
    if evidence.coverage == evidence.virtual_size:
        return BackupType.FULL, FullReason.APPLIANCE_COPIED_ALL
    return BackupType.INCREMENTAL, None
