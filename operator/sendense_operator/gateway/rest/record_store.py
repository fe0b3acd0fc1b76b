"""Records of one kind by namespace and name, in a stable order. No I/O; fed by a `cluster.informer.Mirror`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Generic, TypeVar

from sendense_operator.views.cached_objects import CachedObject

R = TypeVar("R", bound=CachedObject)


class Store(Generic[R]):
    """The records. `newest_first`: their order; else by name."""

    def __init__(self, *, newest_first: bool = False) -> None:
        self._newest_first = newest_first
        self._by_uid: dict[str, R] = {}
        self._by_name: dict[str, dict[str, R]] = {}
        self._orders: dict[str, list[str]] = {}
        """Names in order, of the namespaces that were asked for since their names last changed."""

    def __len__(self) -> int:
        return len(self._by_uid)

    def get(self, namespace: str, name: str) -> R | None:
        """Return the record of that name."""
        return self._by_name.get(namespace, {}).get(name)

    def ordered(self, namespace: str) -> Iterator[R]:
        """Return the namespace's records in order."""
        records = self._by_name.get(namespace, {})
        order = self._orders.get(namespace)
        if order is None:
            order = self._orders[namespace] = self._sorted(records.values())
        return map(records.__getitem__, order)

    def _sorted(self, records: Iterable[R]) -> list[str]:
        by_name = sorted(records, key=attrgetter("name"))
        if self._newest_first:
            by_name.sort(key=attrgetter("created"), reverse=True)
        return [record.name for record in by_name]

    def put(self, record: R) -> bool:
        """Add or replace one. Returns whether anything changed."""
        records = self._by_name.setdefault(record.namespace, {})
        before = records.get(record.name)
        if before == record:
            return False
        if before is not None and before.uid != record.uid:
            del self._by_uid[before.uid]
        self._by_uid[record.uid] = records[record.name] = record
        if before is None or before.created != record.created:
            self._orders.pop(record.namespace, None)
        return True

    def remove(self, uid: str) -> bool:
        """Forget one. Returns whether it was there."""
        record = self._by_uid.pop(uid, None)
        if record is None:
            return False
        del self._by_name[record.namespace][record.name]
        self._orders.pop(record.namespace, None)
        return True

    def replace(self, records: Iterable[R], namespace: str | None) -> None:
        """Take a fresh list of one namespace, or (None) of all."""
        kept = [one for one in self._by_uid.values() if namespace is not None and one.namespace != namespace]
        self._by_uid, self._by_name, self._orders = {}, {}, {}
        for record in (*kept, *records):
            self.put(record)
