"""The conditions Damaged and Verified of a Backup: what proofs of its restore point found. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backup import BackupVerification
from sendense_operator.reconcile.catalogue.decisions import UNREADABLE
from sendense_operator.reconcile.protection.verification_reports import VerificationReason

_STAMP: Final = "%Y-%m-%dT%H:%M:%SZ"


def with_damage(
    old: conditions.Conditions, message: str, *, generation: int | None, now: datetime
) -> conditions.Conditions:
    """Return the conditions of a Backup whose restore point is damaged; an empty `message`: it is not, or no more."""
    if not message:
        verified = conditions.find(old, conditions.VERIFIED)
        kept = conditions.without(old, conditions.DAMAGED)
        refuted = verified is not None and verified["reason"] == VerificationReason.DAMAGED
        return conditions.without(kept, conditions.VERIFIED) if refuted else kept
    damaged = conditions.with_aspect(old, conditions.DAMAGED, True, UNREADABLE, message, generation=generation, now=now)
    return conditions.with_aspect(
        damaged, conditions.VERIFIED, False, VerificationReason.DAMAGED, message, generation=generation, now=now
    )


def with_proof(
    old: conditions.Conditions, known: BackupVerification, *, generation: int | None, now: datetime
) -> conditions.Conditions:
    """Return the conditions of a Backup whose restore point was just proven to read as it was written."""
    sound = with_damage(old, "", generation=generation, now=now)
    reason = VerificationReason.CONTENT if known.content_time is not None else VerificationReason.STRUCTURE
    return conditions.with_aspect(
        sound, conditions.VERIFIED, True, reason, _describe(known), generation=generation, now=now
    )


def _describe(known: BackupVerification) -> str:
    checked = f"its layers passed the check at {known.structure_time:{_STAMP}}" if known.structure_time else ""
    if known.content_time is None:
        return f"{checked}; its content was never read"
    read = f"all of its content was read at {known.content_time:{_STAMP}} and is as it was written"
    return read if known.content_time == known.structure_time else f"{read}; {checked}"
