"""Generates files from the models: `python -m sendense_operator.api.generate [--check] [FOLDER ...]`.

It writes the CRDs into crds and the chart, the chart's annotations and README, and the API reference and the tables of
the metrics into docs; with FOLDERs, only the CRDs, into these.

With --check it writes nothing, and the exit code is 1 if a file differs from what the models yield.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from sendense_operator.api.artifacthub import chart_metadata
from sendense_operator.api.chart_values import readme
from sendense_operator.api.metrics_page import with_tables
from sendense_operator.api.reference import reference
from sendense_operator.api.schema import crd
from sendense_operator.api.v1alpha1 import RESOURCES, Resource
from sendense_operator.api.v1alpha1.names import GROUP


class _Dumper(yaml.SafeDumper):
    """Dumper of YAML without anchors: two equal lists are written twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


FOLDERS = [Path("crds"), Path("charts/sendense-backup/files/crds")]
REFERENCE = Path("docs/reference/api.md")
METRICS = Path("docs/operations/metrics.md")
CHART = Path("charts/sendense-backup")
EXAMPLES = [Path("examples/quickstart"), Path("examples")]
"""Folders with examples, the ones to prefer first."""
HEADER = "# Generated from operator/sendense_operator/api by `make generate`. Do not edit.\n"


def rendered() -> dict[str, str]:
    """Return the YAML text of each CRD by its file name."""
    return {f"{GROUP}_{r.plural}.yaml": HEADER + _yaml(r) for r in RESOURCES}


def _yaml(resource: Resource) -> str:
    return yaml.dump(crd(resource), Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


def _chart_metadata() -> str:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    current = (CHART / "Chart.yaml").read_text(encoding="utf-8")
    return chart_metadata(current, values["image"]["repository"], _examples())


def _examples() -> Iterator[dict[str, Any]]:
    for folder in EXAMPLES:
        for file in sorted(folder.rglob("*.yaml")):
            yield from yaml.safe_load_all(file.read_text(encoding="utf-8"))


def main(arguments: list[str] | None = None) -> int:
    """Write or check the files; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file differs")
    parser.add_argument("folders", nargs="*", type=Path)
    options = parser.parse_args(arguments)
    wanted = {folder / name: text for folder in options.folders or FOLDERS for name, text in rendered().items()}
    if not options.folders:
        wanted[REFERENCE] = reference()
        wanted[METRICS] = with_tables(METRICS.read_text(encoding="utf-8"))
        wanted[CHART / "Chart.yaml"] = _chart_metadata()
        wanted[CHART / "README.md"] = readme((CHART / "values.yaml").read_text(encoding="utf-8"))
    stale = False
    for path, text in wanted.items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale = True
        if options.check:
            print(f"{path} is not what the models say: run `make generate`", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
