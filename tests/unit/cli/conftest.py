"""The command line in front of a fake API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.fakeapi import FakeApi, running
from typer.testing import CliRunner

from sendense_operator.cli.main import app


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Lines of standard output, spaces at their ends left out."""
        return [line.rstrip() for line in self.out.splitlines()]

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


class CommandLine:
    """Runs commands in the namespace `shop`."""

    def __init__(self, api: FakeApi, kubeconfig: Path) -> None:
        self.api = api
        self.kubeconfig = kubeconfig

    def run(self, *words: str, given: str | None = None) -> Result:
        """Run a command; `given`: standard input."""
        command, *more = words
        done = CliRunner().invoke(app, [command, "--kubeconfig", str(self.kubeconfig), *more], input=given)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Result(done.exit_code, done.stdout, done.stderr)


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine decides how output looks."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    import time  # noqa: PLC0415

    time.tzset()


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with running() as api:
        yield api


@pytest.fixture
def cli(api: FakeApi, tmp_path: Path) -> CommandLine:
    return command_line(api, tmp_path / "kubeconfig")


def command_line(api: FakeApi, path: Path) -> CommandLine:
    """Return the command line, with a kubeconfig of a context that has a namespace."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": {"server": api.url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    return CommandLine(api, path)
