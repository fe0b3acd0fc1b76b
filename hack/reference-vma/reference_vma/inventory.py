"""The VMs: folders of raw disk files, scanned at each call since tests create them while the service runs."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_DISK_FILE = re.compile(r"disk-(\d+)\.raw")
_DESCRIPTION: Final = "vm.json"
_SKIPPED: Final = (".", "@")
_FIRST_KEY: Final = 2000
_NAMESPACE: Final = uuid.UUID("6f2c3c1e-6b0b-4b57-9d7e-0a4f7f0a8f11")


@dataclass(frozen=True)
class Disk:
    """One disk of a VM."""

    key: int
    file: Path
    label: str

    @property
    def virtual_size(self) -> int:
        """Size as the guest sees it, in bytes, as of now."""
        return self.file.stat().st_size


@dataclass(frozen=True)
class VM:
    """One VM; `raw` is its vm.json."""

    name: str
    path: str
    uuid: str
    folder: Path
    disks: tuple[Disk, ...]
    raw: dict[str, Any]

    @property
    def datacenter(self) -> str:
        """First element of the inventory path."""
        return self.path.strip("/").split("/", 1)[0]

    def setting(self, name: str, default: Any) -> Any:
        """Return a field of vm.json."""
        return self.raw.get(name, default)


def scan_all(root: Path) -> list[VM]:
    """Return all VMs below `root`, also several with one path."""
    read = (read_vm(root, folder) for folder in sorted(_folders(root)))
    return [vm for vm in read if vm is not None]


def scan(root: Path) -> list[VM]:
    """Return all VMs below `root`, one of each inventory path."""
    found: dict[str, VM] = {}
    for vm in scan_all(root):
        found.setdefault(vm.path, vm)
    return sorted(found.values(), key=lambda vm: vm.path)


def find(root: Path, name_or_path: str) -> VM | None:
    """Return a VM by inventory path or, if only one bears it, by name."""
    machines = scan(root)
    by_path = [vm for vm in machines if vm.path == name_or_path]
    by_name = [vm for vm in machines if vm.name == name_or_path]
    matches = by_path or by_name
    return matches[0] if len(matches) == 1 else None


def _folders(root: Path) -> Iterator[Path]:
    for folder, children, files in os.walk(root):
        children[:] = [child for child in children if not child.startswith(_SKIPPED)]
        if _DESCRIPTION in files or any(_DISK_FILE.fullmatch(file) for file in files):
            yield Path(folder)


def read_vm(root: Path, folder: Path) -> VM | None:
    """Return the VM in a folder; None while it is being made or removed."""
    raw: dict[str, Any] = {}
    description = folder / _DESCRIPTION
    try:
        if description.exists():
            raw = json.loads(description.read_text())
        files = sorted(folder.iterdir())
    except (OSError, ValueError):
        return None
    path = str(raw.get("path") or "/" + folder.relative_to(root).as_posix())
    disks = _listed(folder, raw["disks"]) if "disks" in raw else _found(files)
    return VM(
        name=str(raw.get("name") or path.rstrip("/").rsplit("/", 1)[-1]),
        path=path,
        uuid=str(raw.get("uuid") or uuid.uuid5(_NAMESPACE, path)),
        folder=folder,
        disks=tuple(disk for disk in disks if disk.file.is_file()),
        raw=raw,
    )


def _listed(folder: Path, disks: list[dict[str, Any]]) -> list[Disk]:
    listed = []
    for index, disk in enumerate(disks):
        key = int(disk.get("key", _FIRST_KEY + index))
        file = folder / str(disk.get("file", f"disk-{key}.raw"))
        listed.append(Disk(key, file, str(disk.get("label", f"Hard disk {index + 1}"))))
    return listed


def _found(files: list[Path]) -> list[Disk]:
    keyed = sorted((int(match.group(1)), file) for file in files if (match := _DISK_FILE.fullmatch(file.name)))
    return [Disk(key, file, f"Hard disk {index + 1}") for index, (key, file) in enumerate(keyed)]
