"""Files as room."""

from __future__ import annotations

import pytest

from sendense_operator.answer import Capacity
from sendense_operator.chain.free_space import lacks_files


@pytest.mark.parametrize(("free_files", "lacking"), [(None, False), (16, False), (15, True), (0, True)])
def test_files_that_can_be_created(free_files: int | None, lacking: bool) -> None:
    words = lacks_files(Capacity(total=10, free=10, free_files=free_files), 16)
    assert bool(words) is lacking
    assert not lacking or (str(free_files) in words and "16" in words)
