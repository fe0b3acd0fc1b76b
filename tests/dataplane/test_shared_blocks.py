"""A merge on a file system that shares blocks. It needs root and a loop device: containers have neither."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.dataplane.layer_stack import SECTOR, ZERO, LayerStack
from tests.dataplane.qemuio import QemuIo, qemu_io

from sendense_operator.chain.manifest import CHUNK

SECTORS = CHUNK // SECTOR


@pytest.fixture(scope="module")
def io() -> Iterator[QemuIo]:
    with qemu_io(SECTOR) as running:
        yield running


@pytest.fixture
def xfs(tmp_path: Path) -> Iterator[Path]:
    """A file system that lets files share blocks."""
    image, folder = tmp_path / "xfs.img", tmp_path / "xfs"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(512 << 20)
    make = shutil.which("mkfs.xfs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if os.geteuid() != 0 or make is None:
        pytest.skip("needs root and mkfs.xfs")
    subprocess.run([make, "-q", "-m", "reflink=1", str(image)], check=True)
    mount = subprocess.run(
        ["mount", "-o", "loop", str(image), str(folder)], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"no loop device can be mounted here: {mount.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_that_shares_its_blocks(io: QemuIo, xfs: Path) -> None:
    """A new full takes the room of what was merged into it, until the old one is removed."""

    async def run() -> None:
        made = LayerStack(xfs / "repository", io, 16 * CHUNK)
        await made.add([(0, 16 * SECTORS, 1)])
        await made.add([(1000, 2000, 2), (5 * SECTORS, SECTORS, 3)])
        await made.add([(5 * SECTORS + 64, 64, 4), (6 * SECTORS, 64, ZERO)])
        os.sync()
        free = os.statvfs(xfs).f_bavail * os.statvfs(xfs).f_frsize
        plan = made.plan(2, 2)
        merged = await made.merge(plan)
        taken = free - os.statvfs(xfs).f_bavail * os.statvfs(xfs).f_frsize
        assert merged.written_bytes == (2000 + SECTORS) * SECTOR
        assert taken < merged.written_bytes + (4 << 20)
        assert merged.stored_bytes > 15 * CHUNK
        made.switch(plan)
        assert made.differs(2) == ""

    asyncio.run(run())
