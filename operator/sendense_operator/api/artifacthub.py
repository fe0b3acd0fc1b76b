"""Generation of the chart's Artifact Hub annotations, from the resources and their examples.

Artifact Hub reads the value of each annotation as YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

from sendense_operator.api.v1alpha1 import RESOURCES, Resource
from sendense_operator.api.v1alpha1.names import API_VERSION, GROUP, VERSION

MARKER: Final = "  # Generated from here on by `make generate`. Do not edit.\n"
"""Line of Chart.yaml, among the annotations, below which everything is generated."""
_WIDTH: Final = 110


class _Dumper(yaml.SafeDumper):
    """Dumper of texts of several lines as literal blocks, and of lists indented below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def chart_metadata(current: str, image: str, examples: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of Chart.yaml with current annotations.

    `current` is the file's text, `image` the image's repository without a tag, `examples` objects of which the first of
    each kind is shown. Raises ValueError if the line that the generated part begins at is missing.
    """
    written, marker, _ = current.partition(MARKER)
    if not marker:
        raise ValueError(f"Chart.yaml has no line {MARKER.strip()!r} among its annotations")
    version = yaml.safe_load(current)["appVersion"]
    generated = {
        "artifacthub.io/images": _yaml([{"name": image.rpartition("/")[2], "image": f"{image}:{version}"}]),
        "artifacthub.io/crds": _yaml([_described(resource) for resource in RESOURCES]),
        "artifacthub.io/crdsExamples": _yaml(_one_of_each(examples)),
    }
    indented = re.sub(r"^(?=.)", "  ", _yaml(generated), flags=re.MULTILINE)
    return written + marker + indented


def _described(resource: Resource) -> dict[str, str]:
    return {
        "kind": resource.kind,
        "version": VERSION,
        "name": f"{resource.plural}.{GROUP}",
        "displayName": re.sub(r"(?<=[a-z])(?=[A-Z])", " ", resource.kind),
        "description": resource.description,
    }


def _one_of_each(examples: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the first example of each kind of ours, in the order of the kinds."""
    first: dict[str, Mapping[str, Any]] = {}
    for example in examples:
        if example["apiVersion"] == API_VERSION:
            first.setdefault(example["kind"], example)
    return [first[resource.kind] for resource in RESOURCES if resource.kind in first]


def _yaml(value: object) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True)
