"""What `pip install 'sendense-backup[cli]'` installs: what the command line imports, and nothing of the servers."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.support.kube import CHECKOUT

PROJECT: Final = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: Final = PROJECT["optional-dependencies"]
IMPORT_ALL: Final = """
import importlib, pkgutil, sys
refused = set(sys.argv[1].split(","))
class NotThese:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NotThese())
import sendense_operator.cli, sendense_operator.views
for package in (sendense_operator.cli, sendense_operator.views):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
        print(module.name)
"""
"""Imports each module, as if the packages that are named were not installed."""
SHARED: Final = {"tzdata"}
"""Data, no program: pydantic or a platform may want it too."""


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(one).name) for one in requirements}


def installed_with(requirements: list[str]) -> set[str]:
    """Return the distributions that are installed for these, with all that they require."""
    found, waiting = set[str](), names(requirements)
    while waiting:
        name = waiting.pop()
        found.add(name)
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting |= {canonicalize_name(requirement.name)} - found
    return found


CLI: Final = installed_with([*PROJECT["dependencies"], *EXTRAS["cli"]])


def test_it_pulls_no_part_of_the_servers() -> None:
    assert CLI & names(EXTRAS["server"]) - SHARED == set()
    assert {"kopf", "fastapi", "uvicorn", "blake3"} <= names(EXTRAS["server"])


def import_all(refused: set[str]) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", IMPORT_ALL, ",".join(sorted(refused))]
    return subprocess.run(program, capture_output=True, text=True, check=False)


def test_it_imports_nothing_else() -> None:
    owners = metadata.packages_distributions()
    others = {top for top in owners if not names(owners[top]) & CLI}
    assert {"kopf", "fastapi", "httpx", "structlog"} <= others
    done = import_all(others)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 30


def test_what_it_needs_would_be_missed() -> None:
    done = import_all({"rich"})
    assert done.returncode == 1
    assert "ModuleNotFoundError: rich" in done.stderr


def test_the_entry_points_are_there() -> None:
    from sendense_operator.cli import main  # noqa: PLC0415 - what the names below are read of

    scripts = PROJECT["scripts"]
    assert set(scripts) == {"sendense", "kubectl-sendense", "kubectl_complete-sendense"}
    for target in scripts.values():
        module, name = re.fullmatch(r"([\w.]+):(\w+)", target).groups()  # type: ignore[union-attr]
        assert module == main.__name__
        assert callable(getattr(main, name))
