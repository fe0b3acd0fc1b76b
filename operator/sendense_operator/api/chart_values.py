"""Generation of the chart's README.md, a table of its values, from values.yaml and the comments in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import yaml

from sendense_operator.api.markdown import escaped, table, wrapped

_INTRODUCTION: Final = (
    "# sendense-backup",
    "This chart installs the operator and its CRDs. [Getting started](../../docs/getting-started.md) leads to the "
    "first backup, [Upgrade and uninstall](../../docs/operations/upgrade.md) to the next version, and "
    "[Configuration](../../docs/operations/configuration.md) explains the values that you are most likely to set.",
    "## Values",
    "This table is generated from `values.yaml` by `make generate`. `values.schema.json` has the types and bounds.",
)


class Value(NamedTuple):
    """One value of the chart: its path with dots, its default as JSON (empty for null and for groups), its comment."""

    path: str
    default: str
    comment: str


def readme(text: str) -> str:
    """Return the page, in Markdown. `text` is values.yaml."""
    rows = ((f"`{v.path}`", f"`{_cell(v.default)}`" if v.default else "", escaped(v.comment)) for v in values(text))
    parts = (part if part.startswith("#") else wrapped(part) for part in _INTRODUCTION)
    return "\n\n".join([*parts, table(("value", "default", "description"), rows)]) + "\n"


def values(text: str) -> Iterator[Value]:
    """Yield the values in their order. A group of values has a line of its own if it has a comment.

    The comment of a value is the lines directly above it, and what follows it on its line. Raises ValueError if `text`
    is no mapping.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("values.yaml is no mapping")
    yield from _below(root, "", text.splitlines(), yaml.safe_load(text))


def _below(node: yaml.MappingNode, path: str, lines: Sequence[str], content: dict[str, Any]) -> Iterator[Value]:
    for key, value in node.value:
        place = f"{path}{key.value}"
        group = isinstance(value, yaml.MappingNode) and not value.flow_style
        last = value if value.end_mark.line == key.end_mark.line else key
        comment = _comment(lines, key.start_mark, last.end_mark)
        if group:
            if comment:
                yield Value(place, "", comment)
            yield from _below(value, f"{place}.", lines, content[key.value])
        else:
            default = content[key.value]
            yield Value(place, "" if default is None else json.dumps(default, ensure_ascii=False), comment)


def _comment(lines: Sequence[str], start: yaml.Mark, end: yaml.Mark) -> str:
    """Return the comment of the value whose key is at `start`, and which, or whose key, stops at `end`."""
    prefix = " " * start.column + "# "
    first = start.line
    while first and lines[first - 1].startswith(prefix):
        first -= 1
    _, _, beside = lines[end.line][end.column :].partition("# ")
    above = " ".join(line.removeprefix(prefix) for line in lines[first : start.line])
    return " ".join(filter(None, (above, f"({beside})" if above and beside else beside)))


def _cell(code: str) -> str:
    """Return code for a cell of a table, where a bar is the only character that must be escaped."""
    return code.replace("|", r"\|")
