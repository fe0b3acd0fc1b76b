"""The claim of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    (tmp_path / "claim" / "lost+found").mkdir(parents=True)
    return tmp_path / "claim"
