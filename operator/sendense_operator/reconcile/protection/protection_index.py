"""The VMs, policies and newest restore points of each namespace, in memory: no check lists thousands of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Generic, Protocol, TypeVar

from sendense_operator.reconcile.protection.chain_index import ChainEntry, ChainIndex
from sendense_operator.reconcile.protection.retention_reports import RetentionReports
from sendense_operator.reconcile.protection.selection import PolicyEntry, VMEntry, ruling_policy
from sendense_operator.reconcile.state.keys import Key, Work

SELECTION_SETTLE_S: Final = 2.0
"""Seconds until policies choose anew: a discovery changes thousands of VMs."""
PROTECTION_SETTLE_S: Final = 1.0
"""Seconds until a VM is checked of which a chain has changed: a scan changes several restore points at once."""


class Entry(Protocol):
    """What is kept of an object."""

    @property
    def uid(self) -> str:
        """UID."""
        ...

    @property
    def namespace(self) -> str:
        """Namespace."""
        ...

    @property
    def name(self) -> str:
        """Name."""
        ...


E = TypeVar("E", bound=Entry)


class NamespaceIndex(Generic[E]):
    """Objects by namespace; see `informer.Index`. `on_change` receives the namespace in which something changed."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._all: dict[str, E] = {}
        self._namespaces: dict[str, dict[str, E]] = {}
        self._names: dict[tuple[str, str], E] = {}

    def of(self, namespace: str) -> list[E]:
        """Return the objects of a namespace."""
        return list(self._namespaces.get(namespace, {}).values())

    def named(self, namespace: str, name: str) -> E | None:
        """Return the object of that name."""
        return self._names.get((namespace, name))

    def put(self, item: E) -> bool:
        """Add or replace one. Returns whether anything changed."""
        if self._all.get(item.uid) == item:
            return False
        self._all[item.uid] = item
        self._namespaces.setdefault(item.namespace, {})[item.uid] = item
        self._names[item.namespace, item.name] = item
        self._on_change(item.namespace)
        return True

    def remove(self, uid: str) -> bool:
        """Forget one. Returns whether it was there."""
        item = self._all.pop(uid, None)
        if item is None:
            return False
        there = self._namespaces[item.namespace]
        del there[uid]
        if not there:
            del self._namespaces[item.namespace]
        # A new object of the name may have been seen before the end of the old one.
        if self._names[item.namespace, item.name].uid == uid:
            del self._names[item.namespace, item.name]
        self._on_change(item.namespace)
        return True

    def replace(self, items: Iterable[E], namespace: str | None) -> None:
        """Take a fresh list of one namespace, or (None) of all."""
        missing = {uid for uid, item in self._all.items() if namespace in (None, item.namespace)}
        for item in items:
            missing.discard(item.uid)
            self.put(item)
        for uid in missing:
            self.remove(uid)


class ProtectionIndex:
    """VMs, policies, the newest restore points, and what became of retention.

    `enqueue` receives what is to be checked after a change, with the seconds that it can wait. `synced` tells whether
    VMs, policies and chains were listed: before that nothing is known.
    """

    def __init__(self, enqueue: Callable[[Key, float], None], synced: Callable[[], bool]) -> None:
        self._enqueue = enqueue
        self.vms = NamespaceIndex[VMEntry](self._select_again)
        self.policies = NamespaceIndex[PolicyEntry](self._select_again)
        self.chains = ChainIndex(self._protect_again)
        self.synced = synced
        self.retention = RetentionReports()

    def ruling(self, namespace: str, vm: str, repository: str) -> PolicyEntry | None:
        """Return the policy that rules a VM's backups to a repository; None for a VM that has no ProtectedVM."""
        entry = self.vms.named(namespace, vm)
        return None if entry is None else ruling_policy(entry, repository, self.policies.of(namespace))

    def _select_again(self, namespace: str) -> None:
        self._enqueue(Key(Work.SELECTION, namespace), SELECTION_SETTLE_S)

    def _protect_again(self, chain: ChainEntry) -> None:
        """Check again whether the VM's newest restore point is recent enough, and its policy's count of such VMs."""
        if not self.synced():
            return  # all VMs and policies are checked after the first list
        self._enqueue(Key(Work.PROTECTION, chain.namespace, chain.key.vm), PROTECTION_SETTLE_S)
        policy = self.ruling(chain.namespace, *chain.key)
        if policy is not None and policy.max_age is not None:
            self._enqueue(Key(Work.POLICY, policy.namespace, policy.name), SELECTION_SETTLE_S)
