"""Renders the chart with the real helm."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import pytest
import yaml
from tests.support.objects import Obj

CHECKOUT: Final = Path(__file__).resolve().parents[3]
CHART: Final = CHECKOUT / "charts" / "sendense-backup"
_CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sendense-backup" / "tools"
# helm built from its Go module thinks that it talks to a very old cluster unless configured otherwise.
_COMMAND: Final = ("template", "rel", str(CHART), "--namespace", "ops", "--kube-version", "1.32.0")

Render = Callable[..., list[Obj]]
PROGRAMS: Final = {"controller": "controller", "gateway": "gateway", "api": "rest"}
"""By component, which the names of objects end in: the program, and the name of its values."""


def _helm() -> str | None:
    """helm on the PATH, or the one that `hack/cluster` built."""
    return shutil.which("helm") or next((str(found) for found in sorted(_CACHE.glob("helm-*/helm"))), None)


@cache
def _run(values: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_helm() or "helm", *_COMMAND, "--values", "-"], input=values, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="session")
def render() -> Render:
    """The objects that the chart makes of some values. Raises AssertionError with helm's words."""
    if _helm() is None:
        if os.environ.get("CI"):
            pytest.fail("helm is missing: `hack/cluster up` builds it")
        pytest.skip("helm is missing: `hack/cluster up` builds it")

    def objects(values: Obj | None = None) -> list[Obj]:
        done = _run(json.dumps(values or {}))
        assert done.returncode == 0, done.stderr
        return [item for item in yaml.safe_load_all(done.stdout) if item]

    return objects


@pytest.fixture(scope="session")
def refusal(render: Render) -> Callable[[Obj], str]:
    """What helm says about values that the chart refuses."""

    def text(values: Obj) -> str:
        done = _run(json.dumps(values))
        assert done.returncode != 0, f"accepted: {values}"
        return done.stderr

    return text


def one(objects: list[Obj], kind: str, name: str) -> Obj:
    """Return the object of that kind whose name ends in `name`."""
    (found,) = [item for item in objects if item["kind"] == kind and item["metadata"]["name"].endswith(name)]
    return found


def all_of(objects: list[Obj], kind: str) -> list[Obj]:
    """Return the objects of that kind."""
    return [item for item in objects if item["kind"] == kind]


def template_of(objects: list[Obj], program: str) -> Obj:
    """Return the pod template of a program."""
    template: Obj = one(objects, "Deployment", f"-{program}")["spec"]["template"]
    return template


def selector_of(objects: list[Obj], program: str) -> Obj:
    """Return the labels by which a program's Deployment finds its pods."""
    labels: Obj = one(objects, "Deployment", f"-{program}")["spec"]["selector"]["matchLabels"]
    return labels


def environment(deployment: Obj) -> dict[str, str]:
    """Return the plain variables of a Deployment's only container."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {item["name"]: item["value"] for item in container["env"] if "value" in item}


def complaint(text: str, path: str) -> str:
    """Return what helm's words say about the value at `path`, such as /gateway/replicas.

    Raises AssertionError if they say nothing.
    """
    # in a JSON pointer ~1 stands for a slash in a name
    found = re.findall(rf"at '{re.escape(path)}': .*", text.replace("~1", "/"))
    assert found, f"{path} is not named in: {text}"
    return "\n".join(found)
