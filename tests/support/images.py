"""What QEMU says of images in a repository, asked in a container of the product's own image: the host needs no QEMU."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import chart, programs
from tests.support.workspace import Workspace


def assert_identical(space: Workspace, name: str = "backup", *, vm: str = "vm", repository: str = "repo") -> None:
    """Every disk of the Completed Backup is byte for byte its source, and of the same size."""
    assert_points(space, {name: space.disks[vm]}, repository=repository)


def assert_points(space: Workspace, sources: Mapping[str, Sequence[Path]], *, repository: str = "repo") -> None:
    """The same for several Backups, each with the disks that it must be: by its name, in device order."""
    pairs = [pair for name, files in sources.items() for pair in _pairs(space, name, files, repository)]
    reported = dict(zip(pairs, compare(space, pairs), strict=True))
    assert {pair: text for pair, text in reported.items() if text != "Images are identical."} == {}


def _pairs(space: Workspace, name: str, sources: Sequence[Path], repository: str) -> list[tuple[Path, Path]]:
    disks = space.status(name)["disks"]
    assert [disk["id"] for disk in disks] == list(range(len(sources))), name
    assert [disk["virtualSize"] for disk in disks] == [source.stat().st_size for source in sources], name
    root = space.folders[repository].path
    return [(source, root / disk["file"]) for source, disk in zip(sources, disks, strict=True)]


def compare(space: Workspace, pairs: list[tuple[Path, Path]]) -> list[str]:
    """Verdict of `qemu-img compare` for each pair of a raw source and a QCOW2."""
    script = " ; ".join('qemu-img compare -f raw -F qcow2 "$1" "$2" 2>&1 | tail -n 1; shift 2' for _ in pairs)
    reported = in_image(space, script, *(path for pair in pairs for path in pair))
    return reported.splitlines()


def flip_bit(space: Workspace, image: Path, *, after: int = 0) -> None:
    """One bit of data that the image itself holds, in the middle of its file; its structure stays as it is.

    `after`: byte of the disk behind which it lies.
    """
    reported = json.loads(in_image(space, 'qemu-img map --output=json -f qcow2 "$1"', image))
    mine = [extent for extent in reported if extent["data"] and extent["depth"] == 0]
    behind = [extent for extent in mine if extent["start"] + extent["length"] > after]
    chosen = behind[len(behind) // 2]
    offset = chosen["offset"] + max(after - chosen["start"], 0)
    with image.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def info(space: Workspace, path: Path) -> dict[str, Any]:
    """`qemu-img info` of a QCOW2."""
    reported: dict[str, Any] = json.loads(in_image(space, 'qemu-img info --output=json -f qcow2 "$1"', path))
    return reported


def check(space: Workspace, *paths: Path) -> None:
    """`qemu-img check` finds nothing. Raises ProgramError otherwise."""
    in_image(space, 'for image; do qemu-img check -q -f qcow2 "$image" || exit 1; done', *paths)


def operator_image(space: Workspace) -> str:
    """Return the image that the installed operator runs."""
    deployment = chart.only(space.kube, "Deployment", "controller")
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def in_image(space: Workspace, script: str, *paths: Path) -> str:
    """Return the output of a shell script run in a container of the operator's image, with paths as arguments."""
    shared = programs.data()
    inside = [f"/srv/sendense/{path.relative_to(shared)}" for path in paths]
    return programs.engine(
        "run", "--rm", "--network", "none", "--user", "0", "--volume", f"{shared}:/srv/sendense",
        "--entrypoint", "sh", operator_image(space), "-c", script, "compare", *inside,
    )  # fmt: skip
