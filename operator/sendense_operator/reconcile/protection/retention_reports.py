"""What became of retention in each chain, for the status of the policies that rule them.

In memory only: each chain is checked after a restart, and reports again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.keys import ChainKey


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


class RetentionReports:
    """The latest report of each chain, by the policy that rules it."""

    def __init__(self) -> None:
        self._policies: dict[ObjectKey, dict[ChainKey, RetentionReport]] = {}
        self._chains: dict[tuple[str, ChainKey], ObjectKey] = {}

    def of(self, policy: ObjectKey) -> dict[ChainKey, RetentionReport]:
        """Return the reports of the chains that a policy rules."""
        return dict(self._policies.get(policy, {}))

    def put(
        self, namespace: str, chain: ChainKey, policy: str | None, report: RetentionReport | None
    ) -> list[ObjectKey]:
        """Keep a chain's report; return the policies of which the reports have changed.

        `policy`: the one that rules it; None: there is none any more.
        """
        changed = list[ObjectKey]()
        key = ObjectKey(namespace, policy) if policy is not None and report is not None else None
        before = self._chains.pop((namespace, chain), None)
        if before is not None and before != key:
            there = self._policies[before]
            del there[chain]
            if not there:
                del self._policies[before]
            changed.append(before)
        if key is not None and report is not None:
            self._chains[namespace, chain] = key
            there = self._policies.setdefault(key, {})
            if there.get(chain) != report:
                there[chain] = report
                changed.append(key)
        return changed
