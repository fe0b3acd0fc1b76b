"""Which VMs each policy backs up, to check their protection again when the policy or its VMs change.

In memory only: after a restart each VM is checked anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.protection.protection_index import ProtectionIndex
from sendense_operator.reconcile.protection.selection import PolicyEntry, Selection
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.keys import Key, Work


@dataclass(frozen=True)
class _Ruled:
    entry: PolicyEntry | None = None
    """As the index had it. The checks of VMs read it there, and the watch may report a change late."""
    vms: frozenset[str] = frozenset()


class RuledVMs:
    """What each policy backed up when it was last checked."""

    def __init__(self, ctx: ReconcileContext, index: ProtectionIndex) -> None:
        self._ctx = ctx
        self._index = index
        self._known: dict[str, dict[str, _Ruled]] = {}

    def update(self, policy: ObjectKey, selection: Selection) -> None:
        """Check the VMs again for which something has changed."""
        known = self._known.setdefault(policy.namespace, {})
        before = known.get(policy.name, _Ruled())
        ruled = _Ruled(self._index.policies.named(*policy), frozenset(selection.vms))
        known[policy.name] = ruled
        changed = before.vms | ruled.vms if before.entry != ruled.entry else before.vms ^ ruled.vms
        self._check(policy.namespace, changed)

    def forget_missing(self, namespace: str) -> None:
        """Check all VMs again of policies that the index no longer has."""
        known = self._known.get(namespace, {})
        for name in [name for name in known if self._index.policies.named(namespace, name) is None]:
            # One that is too new for the index comes back with its next check.
            self._check(namespace, known.pop(name).vms)
        if not known:
            self._known.pop(namespace, None)

    def _check(self, namespace: str, vms: frozenset[str]) -> None:
        for vm in sorted(vms):
            self._ctx.again(Key(Work.PROTECTION, namespace, vm))
