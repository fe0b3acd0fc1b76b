"""promtool, which checks rules and queries."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

_CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sendense-backup" / "tools"

Promtool = Callable[..., None]
"""Its arguments; `given`: what it reads from its standard input."""


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    """Run promtool: that on the PATH, or the one that `make promtool` built. Raises AssertionError with its words."""
    found = shutil.which("promtool") or next(map(str, sorted(_CACHE.glob("promtool-*/promtool"))), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is missing: `make promtool` builds it")
        pytest.skip("promtool is missing: `make promtool` builds it")

    def run(*arguments: str, given: bytes = b"") -> None:
        done = subprocess.run([found, *arguments], input=given.decode(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return run
