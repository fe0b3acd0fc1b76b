"""The VMs, policies and newest restore points of each namespace, in memory: no check lists thousands of objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sendense_operator.reconcile.protection.chain_index import ChainEntry, ChainIndex
from sendense_operator.reconcile.protection.chain_reports import ChainReports
from sendense_operator.reconcile.protection.namespace_index import NamespaceIndex
from sendense_operator.reconcile.protection.retention_reports import RetentionReport
from sendense_operator.reconcile.protection.selection import PolicyEntry, ruling_policy
from sendense_operator.reconcile.protection.uid_index import Entry
from sendense_operator.reconcile.protection.verification_reports import VerificationReport
from sendense_operator.reconcile.protection.vm_index import VMIndex
from sendense_operator.reconcile.state.keys import Key, Work

SELECTION_SETTLE_S: Final = 2.0
"""Seconds until policies choose anew: a discovery changes thousands of VMs."""
PROTECTION_SETTLE_S: Final = 1.0
"""Seconds until a VM is checked of which a chain has changed: a scan changes several restore points at once."""


class ProtectionIndex:
    """VMs, policies, the newest restore points, and what chains report of retention and verification.

    `enqueue` receives what is to be checked after a change, with the seconds that it can wait. `synced` tells whether
    VMs, policies and chains were listed: before that nothing is known.
    """

    def __init__(self, enqueue: Callable[[Key, float], None], synced: Callable[[], bool]) -> None:
        self._enqueue = enqueue
        self.vms = VMIndex(self._select_again)
        self.policies = NamespaceIndex[PolicyEntry](self._select_again)
        self.chains = ChainIndex(self._protect_again)
        self.synced = synced
        self.retention = ChainReports[RetentionReport]()
        self.verification = ChainReports[VerificationReport]()

    def ruling(self, namespace: str, vm: str, repository: str) -> PolicyEntry | None:
        """Return the policy that rules a VM's backups to a repository; None for a VM that has no ProtectedVM."""
        entry = self.vms.named(namespace, vm)
        return None if entry is None else ruling_policy(entry, repository, self.policies.of(namespace))

    def _select_again(self, changed: Entry) -> None:
        self._enqueue(Key(Work.SELECTION, changed.namespace), SELECTION_SETTLE_S)

    def _protect_again(self, chain: ChainEntry) -> None:
        """Check again whether the VM's newest restore point is recent enough, and its policy's count of such VMs."""
        if not self.synced():
            return  # all VMs and policies are checked after the first list
        self._enqueue(Key(Work.PROTECTION, chain.namespace, chain.key.vm), PROTECTION_SETTLE_S)
        policy = self.ruling(chain.namespace, *chain.key)
        if policy is not None and policy.max_age is not None:
            self._enqueue(Key(Work.POLICY, policy.namespace, policy.name), SELECTION_SETTLE_S)
