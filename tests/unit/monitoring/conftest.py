"""promtool, which checks rules and queries."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from tests.support.monitoring import prometheus_command

Promtool = Callable[..., None]
"""Its arguments; `given`: what it reads from its standard input."""


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    """Run promtool. Raises AssertionError with its words."""
    found = prometheus_command("promtool")

    def run(*arguments: str, given: bytes = b"") -> None:
        done = subprocess.run([found, *arguments], input=given.decode(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return run
