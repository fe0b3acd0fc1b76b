"""Repositories of the worker's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.chains import PATHS
from tests.unit.worker.proberig import probe

from sendense_operator.worker.storage.chain_lock import ChainLock


@pytest.fixture
def root(tmp_path: Path) -> Path:
    probe(tmp_path)
    return tmp_path


@pytest.fixture
def busy(root: Path) -> Iterator[ChainLock]:
    """A worker has the chain's lock."""
    lock = ChainLock.try_acquire(root / PATHS.lock, root, "worker")
    assert lock is not None
    with lock:
        yield lock
