"""The name of an object among all of its kind. The only place that puts namespace and name together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class ObjectKey(NamedTuple):
    """Namespace and name of an object; of which kind follows from where the key is used."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> ObjectKey:
        """From the object as the API server gives it."""
        meta = obj["metadata"]
        return cls(meta["namespace"], meta["name"])
