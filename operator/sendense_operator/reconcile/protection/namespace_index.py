"""Objects by namespace and name, in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sendense_operator.reconcile.protection.uid_index import Entry, UidIndex


class NamedEntry(Entry, Protocol):
    """What is kept of an object that is found by its name."""

    @property
    def name(self) -> str:
        """Name."""
        ...


E = TypeVar("E", bound=NamedEntry)


class NamespaceIndex(UidIndex[E]):
    """Objects by namespace, and by name."""

    def __init__(self, on_change: Callable[[E], None]) -> None:
        super().__init__(on_change)
        self._namespaces: dict[str, dict[str, E]] = {}
        self._names: dict[tuple[str, str], E] = {}

    def of(self, namespace: str) -> list[E]:
        """Return the objects of a namespace."""
        return list(self._namespaces.get(namespace, {}).values())

    def named(self, namespace: str, name: str) -> E | None:
        """Return the object of that name."""
        return self._names.get((namespace, name))

    def _add(self, item: E) -> None:
        self._namespaces.setdefault(item.namespace, {})[item.uid] = item
        self._names[item.namespace, item.name] = item

    def _drop(self, item: E) -> None:
        there = self._namespaces[item.namespace]
        del there[item.uid]
        if not there:
            del self._namespaces[item.namespace]
        if self._names[item.namespace, item.name].uid == item.uid:
            del self._names[item.namespace, item.name]
