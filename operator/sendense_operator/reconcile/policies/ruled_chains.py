"""Which chains each policy rules, to check them again when the rules or the VMs change.

In memory only: after a restart each chain is checked anyway, but maybe before the policies were known.
"""

from __future__ import annotations

from dataclasses import dataclass

from sendense_operator.api.v1alpha1.backuppolicy import BackupPolicySpec, Retention
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.protection.selection import Selection
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.keys import ChainKey, Key


@dataclass(frozen=True)
class _Rules:
    """What of a policy the chains depend on."""

    retention: Retention | None = None
    suspended: bool = False
    failed_history_limit: int = 0


@dataclass(frozen=True)
class _Ruled:
    rules: _Rules
    repository: str
    vms: frozenset[str]

    @property
    def chains(self) -> set[ChainKey]:
        return {ChainKey(vm, self.repository) for vm in self.vms} if self.rules.retention is not None else set()


_NOTHING = _Ruled(_Rules(), "", frozenset())


class RuledChains:
    """What each policy ruled when it was last checked."""

    def __init__(self, ctx: ReconcileContext) -> None:
        self._ctx = ctx
        self._known: dict[ObjectKey, _Ruled] = {}

    def update(self, policy: ObjectKey, spec: BackupPolicySpec, selection: Selection) -> None:
        """Check the chains again for which something has changed."""
        rules = _Rules(spec.retention, spec.suspend, spec.failed_history_limit)
        ruled = _Ruled(rules, spec.repository_ref.name, frozenset((*selection.vms, *selection.gone)))
        before = self._known.get(policy, _NOTHING)
        self._known[policy] = ruled
        if before.rules == ruled.rules:
            self._check(policy, before.chains ^ ruled.chains)
        else:
            self._check(policy, before.chains | ruled.chains)

    def forget(self, policy: ObjectKey) -> None:
        """Check all chains again of a policy that is gone."""
        self._check(policy, self._known.pop(policy, _NOTHING).chains)

    def _check(self, policy: ObjectKey, chains: set[ChainKey]) -> None:
        for chain in sorted(chains):
            self._ctx.again(Key.of_chain(policy.namespace, chain))
