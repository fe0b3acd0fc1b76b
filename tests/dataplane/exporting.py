"""Restores into files: what is started, and what lies in the folder that stands for the claim."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from tests.dataplane.layered_chain import LayeredChain
from tests.dataplane.restoring import Run

from sendense_operator.chain.export_files import archive_file, claim_file, disk_file
from sendense_operator.restore_task import FileFormat, FileTask

ALL = tuple(FileFormat)
FOLDER = "exports/today"


def run_into(
    chain: LayeredChain, targets: Path, kind: FileFormat, point: int = 4, *, folder: str = FOLDER, **changes: Any
) -> Run:
    """Return an attempt that writes files of this format."""
    return Run(chain, targets, point, file=FileTask(format=kind, folder=folder), **changes)


def file_names(kind: FileFormat, point: int = 4, disks: tuple[int, ...] = (0, 1)) -> list[str]:
    """Return the names that a Restore makes."""
    return sorted({claim_file("db", f"b{point}", index, kind) for index in disks})


def found(targets: Path, folder: str = FOLDER) -> list[str]:
    """Return the names in the folder of the claim."""
    place = targets / "files" / folder
    return sorted(path.name for path in place.iterdir()) if place.exists() else []


def unpacked(targets: Path, kind: FileFormat, tmp_path: Path, point: int = 4, index: int = 0) -> bytes:
    """Return the content of a disk, as QEMU's tools and tar find it in the files."""
    place = targets / "files" / FOLDER
    path, backup = place / claim_file("db", f"b{point}", index, kind), f"b{point}"
    if kind is FileFormat.RAW:
        return path.read_bytes()
    if kind is FileFormat.OVA:
        path = tmp_path / disk_file("db", backup, index, kind)
        with tarfile.open(place / archive_file("db", backup)) as archive:
            member = archive.extractfile(path.name)
            assert member is not None
            path.write_bytes(member.read())
    raw = tmp_path / "unpacked.raw"
    driver = "qcow2" if kind is FileFormat.QCOW2 else "vmdk"
    subprocess.run(["qemu-img", "convert", "-f", driver, "-O", "raw", str(path), str(raw)], check=True)
    return raw.read_bytes()


def assert_exported(
    chain: LayeredChain,
    targets: Path,
    kind: FileFormat,
    tmp_path: Path,
    point: int = 4,
    disks: tuple[int, ...] = (0, 1),
) -> None:
    """Assert that the files are there, nothing else is, and they hold the disks."""
    assert found(targets) == file_names(kind, point, disks)
    for index in disks:
        expected = chain.content(chain.points[point - 1], index)
        actual = unpacked(targets, kind, tmp_path, point, index)
        assert hashlib.sha256(actual).digest() == hashlib.sha256(expected).digest()


def sums_in(archive: Path) -> dict[str, str]:
    """Return SHA-256 by name, as the archive's own manifest says."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile(next(member for member in tar if member.name.endswith(".mf")))
        assert file is not None
        lines = file.read().decode().splitlines()
    return {line.partition("(")[2].partition(")")[0]: line.partition("= ")[2] for line in lines}
