"""The appliances as the gateway sees them: an index in memory that a watch keeps up to date."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from sendense_operator.cluster.informer import Mirror
from sendense_operator.cluster.kinds import APPLIANCE

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class ApplianceRecord:
    """The few fields of a VMwareAppliance that are kept."""

    uid: str
    namespace: str
    name: str
    rotation: int = 0
    accept_former_paths: bool = False
    allowed_from: tuple[Network, ...] | None = None
    """Networks of the callers; None: any."""

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> Self:
        """From an object as the API server sends it. Raises KeyError or ValueError for what can't be one."""
        meta = obj["metadata"]
        callbacks = (obj.get("spec") or {}).get("callbacks") or {}
        return cls(
            uid=meta["uid"],
            namespace=meta["namespace"],
            name=meta["name"],
            rotation=int(callbacks.get("rotation") or 0),
            accept_former_paths=callbacks.get("acceptFormerPaths") is True,
            allowed_from=_networks(callbacks.get("allowedFrom") or ()),
        )


def _networks(texts: Iterable[str]) -> tuple[Network, ...] | None:
    """Parse CIDRs. One that is none admits nobody; admission refuses it before it gets here."""
    given = tuple(texts)
    found: list[Network] = []
    for text in given:
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            continue
    return tuple(found) if given else None


class ApplianceView(Protocol):
    """What the gateway wants to know of appliances."""

    @property
    def synced(self) -> bool:
        """Whether the view was complete once."""
        ...

    def find(self, namespace: str, name: str) -> ApplianceRecord | None:
        """Return the appliance of that name."""
        ...


class ApplianceIndex:
    """Appliances by name. No I/O."""

    def __init__(self) -> None:
        self._by_uid: dict[str, ApplianceRecord] = {}
        self._by_name: dict[tuple[str, str], ApplianceRecord] = {}

    def find(self, namespace: str, name: str) -> ApplianceRecord | None:
        """Return the appliance of that name."""
        return self._by_name.get((namespace, name))

    def put(self, record: ApplianceRecord) -> bool:
        """Add or replace one. Returns whether anything changed."""
        if self._by_uid.get(record.uid) == record:
            return False
        self._by_uid[record.uid] = self._by_name[record.namespace, record.name] = record
        return True

    def remove(self, uid: str) -> bool:
        """Forget one. Returns whether it was there."""
        gone = self._by_uid.pop(uid, None)
        if gone is not None and self._by_name.get((gone.namespace, gone.name)) == gone:
            del self._by_name[gone.namespace, gone.name]
        return gone is not None

    def replace(self, records: Iterable[ApplianceRecord], namespace: str | None) -> None:
        """Take a fresh list of one namespace, or (None) of all."""
        kept = [one for one in self._by_uid.values() if namespace is not None and one.namespace != namespace]
        everything = [*kept, *records]
        self._by_uid = {one.uid: one for one in everything}
        self._by_name = {(one.namespace, one.name): one for one in everything}


class Appliances(Mirror[ApplianceRecord]):
    """All appliances of some namespaces (none given: of the cluster). Run `run` in a task of its own."""

    def __init__(self, api: Any, namespaces: Sequence[str] = ()) -> None:
        self._appliances = ApplianceIndex()
        super().__init__(api, APPLIANCE, self._appliances, ApplianceRecord.from_object, namespaces)

    def find(self, namespace: str, name: str) -> ApplianceRecord | None:
        """See `ApplianceIndex`."""
        return self._appliances.find(namespace, name)
