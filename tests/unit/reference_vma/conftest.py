"""Fixtures of the reference VMA's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.reference_vma.support import VMA, ControlPlane, Export, serve

from reference_vma.config import Settings


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    control_plane = ControlPlane()
    yield control_plane
    control_plane.close()


@pytest.fixture
def vma(tmp_path: Path, plane: ControlPlane) -> Iterator[VMA]:
    disks = tmp_path / "disks"
    disks.mkdir()
    settings = Settings(
        disks,
        disks / ".state",
        disks / ".scratch",
        control_plane=plane.url,
        telemetry_seconds=0.2,
        request_bytes=1 << 20,
    )
    with serve(settings) as url:
        yield VMA(url, disks, plane)


@pytest.fixture
def make_export(tmp_path: Path) -> Iterator[Callable[..., Export]]:
    made: list[Export] = []

    def make(size: int, index: int = 0, **options: Any) -> Export:
        made.append(Export(tmp_path / f"image-{len(made)}.qcow2", size, f"uid-disk{index}", **options))
        return made[-1]

    yield make
    for export in made:
        export.kill()
