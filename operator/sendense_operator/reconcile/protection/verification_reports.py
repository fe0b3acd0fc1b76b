"""What a chain reports of the verification of its restore points, for the status of the policy that rules it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class VerificationReason(StrEnum):
    """Reasons of the condition Verified, of Backups, chains and policies."""

    CONTENT = "ContentVerified"
    STRUCTURE = "StructureVerified"
    DAMAGED = "Damaged"
    FAILED = "VerificationFailed"
    OVERDUE = "VerificationOverdue"
    NOT_VERIFIED = "NotVerified"
    INVALID = "InvalidVerification"


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """Of one chain."""

    points: int
    """Restore points that are in the repository."""
    verified: int
    """How many of them are verified as the policy requires."""
    damaged: int
    """How many of them do not read as they were written."""
    is_running: bool
    """Whether a verification runs, or waits for its turn."""
    last_time: datetime | None
    """When the last verification ended."""
    holds: bool | None
    """Status of the condition; None: Unknown."""
    reason: VerificationReason
    message: str
