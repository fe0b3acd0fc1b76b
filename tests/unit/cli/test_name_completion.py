"""Completion of names: through kubectl, with the command line's own context and namespace, and quickly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.kube import CHECKOUT

KUBECTL = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  *context=gone*) exit 1;;
  *backups.backup*) printf 'backup.backup.sendense.io/db-1\\nbackup.backup.sendense.io/db-2\\n';;
  *protectedvms*) printf 'protectedvm.backup.sendense.io/db\\n';;
  *get-contexts*) printf 'here\\nthere\\n';;
  *) printf 'namespace/shop\\n';;
esac
"""
HEAVY = ("kubernetes", "aiohttp", "pydantic", "yaml", "rich", "sendense_operator.api", "sendense_operator.cluster")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder with a kubectl that remembers how it was called, in the file `log`."""
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL.format(log=tmp_path / "log"), encoding="utf-8")
    program.chmod(0o755)
    return tmp_path


def completed(
    path: Path, *words: str, function: str = "complete_for_kubectl()", env: dict[str, str] | None = None
) -> str:
    code = f"from sendense_operator.cli import main; main.{function}"
    environment = {"PATH": f"{path}:/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT / "operator"), **(env or {})}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout


def test_names(path: Path) -> None:
    assert completed(path, "describe", "db").split() == ["db-1", "db-2", ":4"]
    assert completed(path, "describe", "db-1", "db").split() == ["db-2", ":4"]
    assert completed(path, "backup", "").split() == ["db", ":4"]
    assert completed(path, "list", "--context", "").split() == ["here", "there", ":4"]


def test_with_the_context_that_is_typed(path: Path) -> None:
    completed(path, "delete", "-n", "shop", "--context", "there", "--kubeconfig", "/k", "")
    words = (path / "log").read_text(encoding="utf-8").split()
    assert {"--namespace=shop", "--context=there", "--kubeconfig=/k", "--request-timeout=1s"} <= set(words)


def test_without_an_answer_nothing_is_completed(path: Path) -> None:
    assert completed(path, "describe", "--context", "gone", "").split() == [":4"]
    assert completed(path / "nowhere", "describe", "").split() == [":4"]


def test_commands_and_a_shells_own_way(path: Path) -> None:
    assert completed(path, "ver").split()[0] == "verify"
    env = {"_SENDENSE_COMPLETE": "complete_bash", "COMP_WORDS": "sendense describe db-2", "COMP_CWORD": "2"}
    assert completed(path, function="app(prog_name='sendense')", env=env).split() == ["db-2"]


def test_it_loads_nothing_that_takes_long(path: Path) -> None:
    """The Kubernetes client and the models take a second; a completion has 0.3 s."""
    code = (
        "import atexit, sys; from sendense_operator.cli import main;"
        "atexit.register(lambda: print('LOADED', *[n for n in sys.modules]));"
        "main.complete_for_kubectl()"
    )
    environment = {"PATH": f"{path}:/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT / "operator")}
    done = subprocess.run(
        [sys.executable, "-c", code, "describe", "db"], env=environment, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.partition("LOADED")[2].split()
    assert "typer" in loaded
    assert [name for name in loaded if name in HEAVY] == []
