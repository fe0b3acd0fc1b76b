"""Which VMs each policy backs up, to check their protection and their chains again when the policy or its VMs change.

In memory only: after a restart each VM and each chain is checked anyway, chains maybe before the policies were known.
"""

from __future__ import annotations

from dataclasses import dataclass

from sendense_operator.api.v1alpha1.backuppolicy import Retention, Verification
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.protection.protection_index import ProtectionIndex
from sendense_operator.reconcile.protection.selection import PolicyEntry, Selection
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.keys import ChainKey, Key, Work


@dataclass(frozen=True)
class _Ruled:
    entry: PolicyEntry | None = None
    """As the index had it. The checks of VMs and chains read it there, and the watch may report a change late."""
    vms: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    """VMs that vCenter no longer has: the rules apply to their chains all the same."""

    @property
    def chains(self) -> frozenset[ChainKey]:
        """Those to which its retention or its verification applies."""
        if self.entry is None or (self.entry.retention is None and self.entry.verification is None):
            return frozenset()
        return frozenset(ChainKey(vm, self.entry.repository) for vm in self.vms | self.gone)

    @property
    def chain_rules(self) -> tuple[Retention | None, Verification | None, bool, int | None] | None:
        """What of the policy its chains depend on."""
        entry = self.entry
        if entry is None:
            return None
        return entry.retention, entry.verification, entry.suspended, entry.failed_history_limit


_NOTHING = _Ruled()


class RuledVMs:
    """What each policy backed up when it was last checked."""

    def __init__(self, ctx: ReconcileContext, index: ProtectionIndex) -> None:
        self._ctx = ctx
        self._index = index
        self._known: dict[str, dict[str, _Ruled]] = {}

    def update(self, policy: ObjectKey, selection: Selection) -> None:
        """Check the VMs and chains again for which something has changed."""
        known = self._known.setdefault(policy.namespace, {})
        before = known.get(policy.name, _NOTHING)
        ruled = _Ruled(self._index.policies.named(*policy), frozenset(selection.vms), frozenset(selection.gone))
        known[policy.name] = ruled
        self._check(policy.namespace, before, ruled)

    def forget_missing(self, namespace: str) -> None:
        """Check all VMs and chains again of policies that the index no longer has."""
        known = self._known.get(namespace, {})
        for name in [name for name in known if self._index.policies.named(namespace, name) is None]:
            # One that is too new for the index comes back with its next check.
            self._check(namespace, known.pop(name), _NOTHING)
        if not known:
            self._known.pop(namespace, None)

    def _check(self, namespace: str, before: _Ruled, after: _Ruled) -> None:
        """All that both have when the policy changed, else what only one of them has."""
        vms = before.vms | after.vms if before.entry != after.entry else before.vms ^ after.vms
        for vm in sorted(vms):
            self._ctx.again(Key(Work.PROTECTION, namespace, vm))
        same = before.chain_rules == after.chain_rules
        chains = before.chains ^ after.chains if same else before.chains | after.chains
        for chain in sorted(chains):
            self._ctx.again(Key.of_chain(namespace, chain))
