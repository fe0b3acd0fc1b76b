"""The environment of a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from sendense_operator.worker.images.nbd_export import environment


def test_takes_the_allocator_where_it_is_installed(tmp_path: Path) -> None:
    library = tmp_path / "libjemalloc.so.2"
    library.touch()
    found = environment(library)
    assert found["LD_PRELOAD"] == str(library)
    # else requests of 8 MiB and more would still be given back at once
    assert "oversize_threshold:0" in found["MALLOC_CONF"]


def test_goes_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "as it is")
    found = environment(tmp_path / "missing")
    assert found["KEPT"] == "as it is"
    assert not {"LD_PRELOAD", "MALLOC_CONF"} & set(found)
