"""Objects for programs: JSON, YAML or names. Both escape control characters. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import yaml

from sendense_operator.cli.plain_text import clean
from sendense_operator.views.backup_view import part, text


class Format(StrEnum):
    """Forms of output."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def encoded(objects: Sequence[Mapping[str, Any]], form: Format, *, single: bool = False) -> str:
    """Return the objects in that form, which is not the table: one object as itself if `single`, else a List.

    Names are `KIND.GROUP/NAME`, one per line, as `kubectl` writes them.
    """
    if form is Format.NAME:
        return "".join(f"{reference(obj)}\n" for obj in objects)
    if single and len(objects) == 1:
        return document(objects[0], form)
    return document({"apiVersion": "v1", "kind": "List", "items": list(objects)}, form)


def document(value: object, form: Format) -> str:
    """Return any JSON value as JSON or YAML."""
    if form is Format.YAML:
        return str(yaml.safe_dump(value, sort_keys=False))
    return json.dumps(value, indent=2) + "\n"


def reference(obj: Mapping[str, Any]) -> str:
    """Return `backup.backup.sendense.io/NAME`."""
    group = text(obj.get("apiVersion")).rpartition("/")[0]
    kind = text(obj.get("kind")).lower()
    return clean(f"{kind}.{group}/{text(part(obj, 'metadata').get('name'))}" if group else f"{kind}/{_name(obj)}")


def _name(obj: Mapping[str, Any]) -> str:
    return text(part(obj, "metadata").get("name"))
