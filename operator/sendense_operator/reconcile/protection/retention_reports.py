"""What a chain reports of its retention, for the status of the policy that rules it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RetentionReason(StrEnum):
    """Reasons of the condition Retention, of chains and policies."""

    APPLIED = "Applied"
    NOT_CHECKED = "NotChecked"
    INVALID = "InvalidRetention"
    DRY_RUN = "DryRun"
    SUSPENDED = "RetentionSuspended"
    FILES_RETAINED = "FilesRetained"
    DELETION_REJECTED = "DeletionRejected"


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """Of one chain."""

    points: int
    """Restore points that the rules apply to."""
    expired: int
    """How many of them no rule keeps."""
    reason: RetentionReason
    """APPLIED, or why expired ones are not deleted."""
    message: str = ""
    """The same for people."""

    @property
    def is_applied(self) -> bool:
        """Whether expired restore points are deleted."""
        return self.reason is RetentionReason.APPLIED
