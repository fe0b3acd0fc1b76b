"""Objects by UID, in memory, as a Mirror fills them; what else they are found by is the subclasses'."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar


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


class UidIndex(Generic[E]):
    """See `informer.Index`. `on_change` receives what is new, changed or gone."""

    def __init__(self, on_change: Callable[[E], None]) -> None:
        self._on_change = on_change
        self._all: dict[str, E] = {}

    def put(self, item: E) -> bool:
        """Add or replace one. Returns whether anything changed."""
        if self._all.get(item.uid) == item:
            return False
        self._all[item.uid] = item
        self._add(item)
        self._on_change(item)
        return True

    def remove(self, uid: str) -> bool:
        """Forget one. Returns whether it was there."""
        item = self._all.pop(uid, None)
        if item is None:
            return False
        self._drop(item)
        self._on_change(item)
        return True

    def replace(self, items: Iterable[E], namespace: str | None) -> None:
        """Take a fresh list of one namespace, or (None) of all."""
        missing = {uid for uid, item in self._all.items() if namespace in (None, item.namespace)}
        for item in items:
            missing.discard(item.uid)
            self.put(item)
        for uid in missing:
            self.remove(uid)

    def _add(self, item: E) -> None:
        """Let a new or changed one be found."""
        raise NotImplementedError

    def _drop(self, item: E) -> None:
        """Let one be found no more. A new object of its name may have been added before."""
        raise NotImplementedError
