"""The table of the chart's values: every value, its default and its comment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from sendense_operator.api.chart_values import Value, readme, values

CHART: Final = Path(__file__).resolve().parents[3] / "charts" / "sendense-backup"
TEXT: Final = """\
# About the file.

# Where it is.
# Two lines.
image:
  tag: "" # default: v1
  # Above.
  digest: "a # b" # beside

  # Apart.

  pullPolicy: null
labels: {a: "#", b: 1} # a map
names:
  - x # of an entry
text: |
  # no comment
count: 3
"""


def _paths(content: Any, prefix: str = "") -> Iterator[str]:
    for name, inner in content.items():
        if isinstance(inner, dict) and inner:
            yield from _paths(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_comments_are_those_of_the_value() -> None:
    assert list(values(TEXT)) == [
        Value("image", "", "Where it is. Two lines."),
        Value("image.tag", '""', "default: v1"),
        Value("image.digest", '"a # b"', "Above. (beside)"),
        Value("image.pullPolicy", "", ""),
        Value("labels", '{"a": "#", "b": 1}', "a map"),
        Value("names", '["x"]', ""),
        Value("text", '"# no comment\\n"', ""),
        Value("count", "3", ""),
    ]


def test_a_bar_does_not_end_a_cell() -> None:
    row = readme('a: "x|y" # <b|c>\n').splitlines()[-1]
    assert row == r'| `a` | `"x\|y"` | &lt;b\|c> |'


@pytest.mark.parametrize("text", ["", "[1]", "a"])
def test_what_holds_no_values_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no mapping"):
        readme(text)


def test_every_value_of_the_chart_is_in_its_readme() -> None:
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    page = (CHART / "README.md").read_text(encoding="utf-8")
    assert page == readme(text), "run `make generate`"
    listed = {value.path for value in values(text)}
    whole = {path for path in _paths(yaml.safe_load(text)) if path not in listed}
    # a map on one line is one value
    assert [path for path in whole if path.rpartition(".")[0] not in listed] == []
    assert all(f"| `{path}` |" in page for path in listed)
