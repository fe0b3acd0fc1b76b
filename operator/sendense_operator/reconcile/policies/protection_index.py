"""The VMs and policies of each namespace, in memory: a policy's check must not list thousands of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from sendense_operator.reconcile.policies.selection import PolicyEntry, VMEntry


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


E = TypeVar("E", bound=Entry)


class NamespaceIndex(Generic[E]):
    """Objects by namespace; see `informer.Index`. `on_change` receives the namespace in which something changed."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._all: dict[str, E] = {}
        self._namespaces: dict[str, dict[str, E]] = {}

    def of(self, namespace: str) -> list[E]:
        """Return the objects of a namespace."""
        return list(self._namespaces.get(namespace, {}).values())

    def put(self, item: E) -> bool:
        """Add or replace one. Returns whether anything changed."""
        if self._all.get(item.uid) == item:
            return False
        self._all[item.uid] = item
        self._namespaces.setdefault(item.namespace, {})[item.uid] = item
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
    """What policies choose from. `synced` tells whether both kinds were listed: before that nothing is known."""

    def __init__(self, on_change: Callable[[str], None], synced: Callable[[], bool]) -> None:
        self.vms = NamespaceIndex[VMEntry](on_change)
        self.policies = NamespaceIndex[PolicyEntry](on_change)
        self.synced = synced
