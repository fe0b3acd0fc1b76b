"""Restore points without a VM: manifests, and files that are layers by their headers only."""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from sendense_operator.chain import layout
from sendense_operator.chain.digests import DIGEST_SIZE
from sendense_operator.chain.extents import chunk_count
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Digest, Manifest, ManifestBackup, ManifestDisk, ManifestVM, Parent
from sendense_operator.task import BackupType

PATHS = ChainPaths("shop", "db")
START = datetime(2025, 10, 5, 12, 0, 0, tzinfo=UTC)
SIZE = 1 << 20
_HEAD = 376
"""Bytes before the backing name in what QEMU writes."""


def uid_of(number: int) -> str:
    """Return a UID that tells its number."""
    return str(uuid.UUID(int=number))


def layer(
    number: int,
    index: int = 0,
    *,
    parent: tuple[Manifest, int] | None = None,
    virtual_size: int = SIZE,
    key: int | None = None,
    folder: int | None = None,
    paths: ChainPaths = PATHS,
) -> ManifestDisk:
    """Disk `index` of restore point `number`; `parent`: a point and the index of the disk in it.

    `folder`: index in the name of the folder of a full, if it is not the disk's own.
    """
    kind = BackupType.FULL if parent is None else BackupType.INCREMENTAL
    name = layout.layer_name(layout.layer_stem(kind, START + timedelta(seconds=number)))
    below = parent[0].disks[parent[1]] if parent else None
    place = PurePosixPath(below.file).parent if below else paths.disk(index if folder is None else folder)
    file = str(place / name)
    depends_on = None
    if parent is not None and below is not None:
        owner = parent[0].backup
        depends_on = Parent(backup=owner.name, backup_uid=owner.uid, file=below.file, change_id=below.change_id)
    return ManifestDisk(
        index=index,
        key=2000 + index if key is None else key,
        type=kind,
        file=file,
        virtual_size=virtual_size,
        stored_bytes=4096,
        guest_bytes=512,
        coverage=virtual_size,
        change_id=f"52 de/{number}",
        parent=depends_on,
        depth=below.depth + 1 if below else 1,
        digest=Digest(root="0" * 64, list=f"{file}.digests"),
    )


def point(
    number: int,
    disks: Iterable[ManifestDisk] | None = None,
    *,
    name: str | None = None,
    paths: ChainPaths = PATHS,
    until: datetime | None = None,
) -> Manifest:
    """Restore point `number` of a chain; one full disk if none are given. `until`: until when it is immutable."""
    at = START + timedelta(seconds=number)
    return Manifest(
        backup=ManifestBackup(name=name or f"b{number}", uid=uid_of(number), namespace="shop"),
        vm=ManifestVM(name=paths.vm, vmware_name=paths.vm, vmware_path=f"/DC/vm/{paths.vm}"),
        repository_id="r",
        job_id=f"job-{number}",
        attempt=uid_of(number),
        sequence=number,
        started=at,
        finished=at,
        retain_until=until,
        tools={},
        disks=tuple(disks) if disks is not None else (layer(number, paths=paths),),
    )


def increment(number: int, parent: Manifest, paths: ChainPaths = PATHS, until: datetime | None = None) -> Manifest:
    """Restore point `number`, all of whose disks depend on `parent`."""
    disks = [layer(number, disk.index, parent=(parent, at), paths=paths) for at, disk in enumerate(parent.disks)]
    return point(number, disks, paths=paths, until=until)


def head(virtual_size: int, backing: str | None = None) -> bytes:
    """Return the first bytes of a layer of ours."""
    name = backing.encode() if backing else b""
    fixed = struct.pack(">IIQIIQI", 0x514649FB, 3, _HEAD if name else 0, len(name), 17, virtual_size, 0)
    cluster = 1 << 17
    tables = struct.pack(">IQQIIQ", -(-virtual_size // (cluster // 16 * cluster)), 3 * cluster, cluster, 1, 0, 0)
    start = fixed + tables + struct.pack(">Q", 0x10)
    start = start.ljust(96, b"\0") + struct.pack(">II", 4, 104)
    if name:
        start += struct.pack(">II", 0xE2792ACA, 5) + b"qcow2".ljust(8, b"\0")
    return (start.ljust(_HEAD, b"\0") + name).ljust(4096, b"\0")


def write_point(root: Path, manifest: Manifest, *, paths: ChainPaths = PATHS) -> PurePosixPath:
    """Return its layers, its lists of digests and its manifest; the manifest's path below `root`."""
    for disk in manifest.disks:
        file = root / disk.file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(head(disk.virtual_size, PurePosixPath(disk.parent.file).name if disk.parent else None))
        (root / disk.digest.list).write_bytes(bytes(DIGEST_SIZE * chunk_count(disk.virtual_size, disk.digest.chunk)))
    place = paths.manifests(manifest.backup.name, manifest.backup.uid)[0]
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_bytes(manifest.to_json())
    return place


def fill(root: Path, *manifests: Manifest) -> Path:
    """Write restore points of the chain PATHS; `root`."""
    for manifest in manifests:
        write_point(root, manifest)
    return root


ODD_KINDS = ("pipe", "link", "folder")


def odd(path: Path, kind: str, target: Path) -> None:
    """What is no file in the place of one. A pipe that is opened as a file waits for ever."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(target)
    else:
        path.mkdir()


def files(root: Path) -> set[str]:
    """Return all files below `root` but locks and the marker."""
    ignored = (layout.LOCK, layout.OWNER, layout.MARKER)
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name not in ignored}
