"""Needs the qemu tools and Debian's libnbd for Python: there in the operator's image."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.dataplane.layered_chain import LayeredChain
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


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> LayeredChain:
    """Five restore points of two disks; the fifth is a full of its own.

    The third hides the full's chunk 1 of the first disk. The second writes chunk 3 of the second disk as it was.
    """
    chain = LayeredChain(tmp_path_factory.mktemp("layered"))
    chain.add({0: 11, 1: 12, 4: 13}, {0: 14, 3: 15})
    chain.add({0: 21}, {3: 15})
    chain.add({1: 31, 2: 32}, {0: 33})
    chain.add({0: 0, 3: 41}, {1: 42})
    chain.add({0: 51}, {}, full=True)
    return chain


@pytest.fixture
def chain(made: LayeredChain, tmp_path: Path) -> LayeredChain:
    """A copy that a test may damage."""
    return made.copied_to(tmp_path / "repository")


@pytest.fixture(scope="session")
def sound(made: LayeredChain, tmp_path_factory: pytest.TempPathFactory) -> LayeredChain:
    """A copy that all tests read, and pin."""
    return made.copied_to(tmp_path_factory.mktemp("sound") / "repository")


@pytest.fixture
def targets(tmp_path: Path) -> Path:
    for index in (0, 1):
        (tmp_path / "targets" / f"disk-{index}" / "lost+found").mkdir(parents=True)
    return tmp_path / "targets"
