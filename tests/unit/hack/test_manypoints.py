"""The controller's program among many restore points: what it holds of each is bounded."""

from __future__ import annotations

import pytest
from hack.bench import manypoints

_COUNT = 2000
_MOST_MB = 125
"""It has 97 without any, and 115 with these: whole objects would cost it 20 KB each."""


@pytest.mark.timeout(600)
def test_two_thousand_restore_points() -> None:
    """Adopted, found again after a restart, and let go with their namespace."""
    numbers = manypoints.controller(_COUNT, quiet=2.0)
    print(numbers)
    assert numbers[f"controller_mb_{_COUNT}"] < _MOST_MB
