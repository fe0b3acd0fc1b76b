"""A VM's disks changed as an administrator does in vCenter: behind the appliance's back, while it runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.support.objects import Obj
from tests.support.workspace import Workspace


def add_disk(space: Workspace, key: int, virtual_size: int, *, vm: str = "vm") -> None:
    """One more disk, full of data, behind the others."""

    def change(folder: Path, disks: list[Obj]) -> list[Obj]:
        file = folder / f"disk-{key}.raw"
        file.write_bytes(os.urandom(virtual_size))
        return [*disks, {"key": key, "file": file.name}]

    _change(space, vm, change)


def remove_disk(space: Workspace, key: int, *, vm: str = "vm") -> None:
    """The disks behind it move up."""

    def change(folder: Path, disks: list[Obj]) -> list[Obj]:
        (folder / f"disk-{key}.raw").unlink()
        return [disk for disk in disks if disk["key"] != key]

    _change(space, vm, change)


def grow_disk(space: Workspace, key: int, virtual_size: int, *, vm: str = "vm") -> None:
    """To `virtual_size` bytes; what is added is empty."""

    def change(folder: Path, disks: list[Obj]) -> list[Obj]:
        os.truncate(folder / f"disk-{key}.raw", virtual_size)
        return disks

    _change(space, vm, change)


def _change(space: Workspace, vm: str, change: Callable[[Path, list[Obj]], list[Obj]]) -> None:
    """Whole or not at all for those who scan the folder; `space.disks` follows."""
    folder = space.disks[vm][0].parent
    description = json.loads((folder / "vm.json").read_text())
    description["disks"] = change(folder, description["disks"])
    draft = folder / ".vm.json"
    draft.write_text(json.dumps(description))
    draft.rename(folder / "vm.json")
    space.disks[vm] = [folder / disk["file"] for disk in description["disks"]]
