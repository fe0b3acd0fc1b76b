"""Fixtures of the reference VMA's tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.reference_vma.support import VMA, ControlPlane, Export, needs_client, needs_tools, serve

from reference_vma.config import Settings

_NUMBERS = itertools.count(1)
_OF_QEMU = (needs_client.mark, needs_tools.mark)


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, which the data plane's tests have, too."""
    config.addinivalue_line("markers", "qemu: runs real qemu programs or libnbd")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that may be skipped for want of tools, so that they can be run in the operator's image."""
    for item in items:
        if any(mark in _OF_QEMU for mark in item.iter_markers()):
            item.add_marker(pytest.mark.qemu)


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    control_plane = ControlPlane()
    yield control_plane
    control_plane.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """URL and disks of one service for all tests, each of which gets an appliance of its own."""
    disks = tmp_path_factory.mktemp("disks")
    with serve(Settings(disks, disks / ".state", disks / ".scratch")) as url:
        yield url, disks


@pytest.fixture
def vma(service: tuple[str, Path], plane: ControlPlane) -> Iterator[VMA]:
    url, root = service
    name = f"test-{next(_NUMBERS)}"
    settings = {"control_plane": plane.url, "telemetry_seconds": 0.2, "request_bytes": 1 << 20, "retry_seconds": 0.1}
    with httpx.Client(base_url=url, timeout=60) as control:
        control.put(f"/_control/appliances/{name}", json=settings).raise_for_status()
        yield VMA(url, name, root / f"@{name}", plane)
        control.delete(f"/_control/appliances/{name}").raise_for_status()


@pytest.fixture
def make_export(tmp_path: Path) -> Iterator[Callable[..., Export]]:
    made: list[Export] = []

    def make(size: int, index: int = 0, **options: Any) -> Export:
        made.append(Export(tmp_path / f"image-{len(made)}.qcow2", size, f"uid-disk{index}", **options))
        return made[-1]

    yield make
    for export in made:
        export.kill()
