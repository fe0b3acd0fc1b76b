"""What QEMU says of images in a repository, asked in a container of the product's own image: the host needs no QEMU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support import chart, programs
from tests.support.workspace import Workspace


def assert_identical(space: Workspace, name: str = "backup", *, vm: str = "vm", repository: str = "repo") -> None:
    """Every disk of the Completed Backup is byte for byte its source, and of the same size."""
    status = space.status(name)
    sources = space.disks[vm]
    assert [disk["id"] for disk in status["disks"]] == list(range(len(sources)))
    pairs = [
        (source, space.folders[repository].path / disk["file"])
        for source, disk in zip(sources, status["disks"], strict=True)
    ]
    for (source, _), disk in zip(pairs, status["disks"], strict=True):
        assert disk["virtualSize"] == source.stat().st_size
    told = compare(space, pairs)
    assert told == ["Images are identical."] * len(pairs), told


def compare(space: Workspace, pairs: list[tuple[Path, Path]]) -> list[str]:
    """Verdict of `qemu-img compare` for each pair of a raw source and a QCOW2."""
    script = " ; ".join('qemu-img compare -f raw -F qcow2 "$1" "$2" 2>&1 | tail -n 1; shift 2' for _ in pairs)
    told = _in_image(space, script, *(path for pair in pairs for path in pair))
    return told.splitlines()


def info(space: Workspace, path: Path) -> dict[str, Any]:
    """`qemu-img info` of a QCOW2."""
    told: dict[str, Any] = json.loads(_in_image(space, 'qemu-img info --output=json -f qcow2 "$1"', path))
    return told


def check(space: Workspace, *paths: Path) -> None:
    """`qemu-img check` finds nothing. Raises ProgramError otherwise."""
    _in_image(space, 'for image; do qemu-img check -q -f qcow2 "$image" || exit 1; done', *paths)


def operator_image(space: Workspace) -> str:
    """The image that the installed operator runs."""
    deployment = chart.only(space.kube, "Deployment", "controller")
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def _in_image(space: Workspace, script: str, *paths: Path) -> str:
    shared = programs.data()
    inside = [f"/srv/sendense/{path.relative_to(shared)}" for path in paths]
    return programs.engine(
        "run", "--rm", "--network", "none", "--user", "0", "--volume", f"{shared}:/srv/sendense",
        "--entrypoint", "sh", operator_image(space), "-c", script, "compare", *inside,
    )  # fmt: skip
