"""ProtectedVMs by namespace, name and label: a policy that chooses ten of ten thousand looks at ten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from sendense_operator.api.v1alpha1.label_selector import LabelSelector, SelectorOperator
from sendense_operator.reconcile.protection.namespace_index import NamespaceIndex
from sendense_operator.reconcile.protection.selection import PolicyEntry, VMEntry

_NOTHING: Final[Mapping[str, VMEntry]] = {}
_Label = tuple[str, str, str]
"""Namespace, key and value."""


class VMIndex(NamespaceIndex[VMEntry]):
    """See `NamespaceIndex`."""

    def __init__(self, on_change: Callable[[VMEntry], None]) -> None:
        super().__init__(on_change)
        self._labels: dict[_Label, dict[str, VMEntry]] = {}
        self._labelled: dict[str, tuple[_Label, ...]] = {}
        """By UID: the labels under which it is found."""

    def candidates(self, policy: PolicyEntry) -> Iterable[VMEntry]:
        """Return all VMs that a policy may choose, and maybe others: `PolicyEntry.selects` tells."""
        named = (self.named(policy.namespace, name) for name in policy.refs)
        found = {vm.uid: vm for vm in named if vm is not None}
        if policy.selector is not None:
            found |= self._with_labels(policy.namespace, policy.selector)
        return found.values()

    def _with_labels(self, namespace: str, selector: LabelSelector) -> Mapping[str, VMEntry]:
        """Return the VMs that meet the requirement which fewest VMs meet, of those that name values."""
        groups = [[self._labels.get((namespace, key, value), _NOTHING)] for key, value in selector.match_labels.items()]
        groups += [
            [self._labels.get((namespace, one.key, value), _NOTHING) for value in one.values]
            for one in selector.match_expressions
            if one.operator is SelectorOperator.IN
        ]
        if not groups:
            return {vm.uid: vm for vm in self.of(namespace)} if selector.match_expressions else _NOTHING
        fewest = min(groups, key=lambda group: sum(map(len, group)))
        return {uid: vm for group in fewest for uid, vm in group.items()}

    def _add(self, item: VMEntry) -> None:
        super()._add(item)
        self._forget_labels(item.uid)
        labels = tuple((item.namespace, key, value) for key, value in item.labels.items())
        self._labelled[item.uid] = labels
        for label in labels:
            self._labels.setdefault(label, {})[item.uid] = item

    def _drop(self, item: VMEntry) -> None:
        super()._drop(item)
        self._forget_labels(item.uid)

    def _forget_labels(self, uid: str) -> None:
        for label in self._labelled.pop(uid, ()):
            there = self._labels[label]
            del there[uid]
            if not there:
                del self._labels[label]
