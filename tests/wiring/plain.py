"""Objects as plain dicts: how the API server copies, merges and selects them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.support.objects import Obj

from sendense_operator.cluster.kinds import Kind


def copied(value: Obj) -> Obj:
    """Return a deep copy, by the way that all objects take: TypeError for what JSON can't hold."""
    result: Obj = json.loads(json.dumps(value))
    return result


def kind_of(obj: Obj) -> Kind:
    """Return the kind of an object as it is stored."""
    return Kind(obj["apiVersion"], obj["kind"], f"{obj['kind'].lower()}s")


def merged(obj: Obj, patch: Obj) -> Obj:
    """RFC 7386."""
    result = dict(obj)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(obj.get(key) or {}, value) if isinstance(value, dict) else value
    return result


def selected(selector: str, values: Mapping[str, Any]) -> bool:
    """Return whether labels, or an object's fields, match a selector."""
    for term in selector.split(",") if selector else []:
        key, wanted = term.split("!=") if "!=" in term else term.split("=")
        if (_at(values, key) == wanted) is ("!=" in term):
            return False
    return True


def _at(values: Mapping[str, Any], path: str) -> str:
    if path in values:  # a label
        return str(values[path])
    found: Any = values
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return "" if found is None else str(found)
