"""What is kept in memory of each object for the metrics, as a Mirror fills it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, Protocol, TypeVar

from pydantic import ValidationError

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.base import Condition, ConditionStatus, Model
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import parse_time
from sendense_operator.object_key import ObjectKey

NOT_REPORTED: Final = "NotReported"
"""Label for a reason that no status gives yet."""


class Record(Protocol):
    """What is kept of an object."""

    @property
    def uid(self) -> str:
        """UID."""
        ...

    @property
    def namespace(self) -> str:
        """Namespace."""
        ...


@dataclass(frozen=True, slots=True)
class NamedRecord:
    """What is kept of every object whose series have its name."""

    uid: str
    namespace: str
    name: str

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return ObjectKey(self.namespace, self.name)


R = TypeVar("R", bound=Record)
M = TypeVar("M", bound=Model)


class RecordStore(Generic[R]):
    """See `informer.Index`. The records never change: a list of them can be read in another thread."""

    def __init__(self) -> None:
        self._records: dict[str, R] = {}

    def __len__(self) -> int:
        return len(self._records)

    def put(self, item: R) -> bool:
        """Add or replace one. Returns whether anything changed."""
        changed = self._records.get(item.uid) != item
        self._records[item.uid] = item
        return changed

    def remove(self, uid: str) -> bool:
        """Forget one. Returns whether it was there."""
        return self._records.pop(uid, None) is not None

    def replace(self, items: Iterable[R], namespace: str | None) -> None:
        """Take a fresh list of one namespace, or (None) of all."""
        kept = {uid: one for uid, one in self._records.items() if namespace not in (None, one.namespace)}
        self._records = kept | {item.uid: item for item in items}

    def all(self) -> list[R]:
        """Return all records."""
        return list(self._records.values())


def read_model(model: type[M], value: object) -> M | None:
    """Return a spec or a status; None for one of another version, which must not stop the watch."""
    try:
        return model.model_validate(value or {})
    except ValidationError:
        return None


def seconds(moment: datetime | None) -> float | None:
    """Return seconds since the epoch; None stays None."""
    return moment.timestamp() if moment is not None else None


def seconds_of(text: str | None) -> float | None:
    """Return the same of a Kubernetes timestamp; None for what is none."""
    try:
        return seconds(parse_time(text))
    except ValueError:
        return None


def reason_of(obj: Obj, kind: str) -> str | None:
    """Return the reason of an object's condition; None when it is absent."""
    found = conditions.find((obj.get("status") or {}).get("conditions") or (), kind)
    return str(found.get("reason") or NOT_REPORTED) if found is not None else None


def verdict_of(status: str | None) -> int:
    """Return the number of a condition's status: 1, 0, or -1 for Unknown."""
    return {ConditionStatus.TRUE.value: 1, ConditionStatus.FALSE.value: 0}.get(status or "", -1)


def is_ready(found: Iterable[Condition]) -> bool:
    """Return whether the condition Ready is true."""
    return any(one.type == conditions.READY and one.status is ConditionStatus.TRUE for one in found)
