"""Needs the qemu tools and Debian's libnbd for Python: there in the operator's image."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.dataplane.rig import Bench, initialised
from tests.dataplane.vma import Vma, reference_vma

_HERE = Path(__file__).parent
_IN_IMAGE = _HERE / "test_in_image.py"
_MISSING = [tool for tool in ("qemu-img", "qemu-nbd") if shutil.which(tool) is None] + [
    module for module in ("nbd",) if importlib.util.find_spec(module) is None
]


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    config.addinivalue_line("markers", "qemu: runs real qemu programs and libnbd")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder; where their tools are missing, they run in the operator's image instead."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.qemu)
            if item.path == _IN_IMAGE and not _MISSING:
                item.add_marker(pytest.mark.skip(reason="the tools are here: the tests run side by side with this one"))
            if item.path != _IN_IMAGE and _MISSING:
                missing = ", ".join(_MISSING)
                item.add_marker(pytest.mark.skip(reason=f"not here: {missing}; they run in the image"))


@pytest.fixture(scope="session")
def running_vma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vma]:
    """One reference VMA for all tests of a process."""
    with reference_vma(tmp_path_factory.mktemp("vma")) as vma:
        yield vma


@pytest.fixture
def vma(running_vma: Vma) -> Vma:
    """It, without faults, jobs and VMs of other tests."""
    running_vma.reset()
    return running_vma


@pytest.fixture
def bench(vma: Vma, tmp_path: Path) -> Iterator[Bench]:
    """An initialised repository."""
    with initialised(tmp_path, vma) as bench:
        yield bench
