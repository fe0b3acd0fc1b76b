"""The questions that a person asks of an object: the columns of its definition. Pure and total."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sendense_operator.api.v1alpha1 import RESOURCES, Resource
from sendense_operator.api.v1alpha1.base import Column
from sendense_operator.api.v1alpha1.conditions import find
from sendense_operator.cli.local_times import local, parse
from sendense_operator.views.backup_view import objects

_CONDITION: Final = re.compile(r"\.status\.conditions\[\?\(@\.type=='(\w+)'\)\]\.(\w+)")
BY_KIND: Final[Mapping[str, Resource]] = {resource.kind: resource for resource in RESOURCES}


def facts_of(obj: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and value of each column of the object's kind that has a value; times are local."""
    resource = BY_KIND.get(str(obj.get("kind")))
    for column in resource.columns if resource else ():
        if (value := _value(obj, column)) not in ("", None):
            yield column.name, _shown(value, column)


def _value(obj: Mapping[str, Any], column: Column) -> object:
    found = _CONDITION.fullmatch(column.path)
    at: Any = obj
    if found:
        status = obj.get("status")
        conditions = objects(status.get("conditions")) if isinstance(status, Mapping) else []
        return (find(conditions, found[1]) or {}).get(found[2])
    for name in column.path.strip(".").split("."):
        at = at.get(name) if isinstance(at, Mapping) else None
    return at


def _shown(value: object, column: Column) -> str:
    if column.name == "Age" or column.type == "date" or column.path.endswith("Time"):
        moment = parse(value)
        return local(moment) if moment else str(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
