"""A chain of real images with digests and manifests, made without a VM: one byte per chunk says what it holds."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from blake3 import blake3
from tests.support.chains import PATHS, layer, point

from sendense_operator.chain import layout
from sendense_operator.chain.digests import digest
from sendense_operator.chain.manifest import CHUNK, Digest, Manifest, ManifestDisk
from sendense_operator.task import Removal
from sendense_operator.worker.images import qemu_tools
from sendense_operator.worker.storage import repository_marker
from sendense_operator.worker.storage.chain_folder import read_chain
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.tombstones import entomb, free_layers

REPOSITORY_ID = "5e9d0000-0000-4000-8000-000000000002"
CHUNKS = 5
SIZE = (CHUNKS - 1) * CHUNK + (1 << 20)
"""The last chunk is shorter."""


@dataclass
class LayeredChain:
    """Restore points of one VM; `add` makes the next one."""

    root: Path
    points: list[Manifest] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    """Of each disk of each restore point by the path of its layer: a byte per chunk."""

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        if not self.points:
            repository_marker.init_repository(self.root, REPOSITORY_ID, None)

    def copied_to(self, root: Path) -> LayeredChain:
        """Return a copy of it below `root`, which does not exist."""
        shutil.copytree(self.root, root)
        return LayeredChain(root, list(self.points), dict(self.contents))

    def add(self, *changes: dict[int, int], full: bool = False) -> Manifest:
        """Add a restore point; `changes`: of each disk, the new value of each changed chunk."""
        number = len(self.points) + 1
        parent = None if full or not self.points else self.points[-1]
        disks = [self._add(number, index, parent, change) for index, change in enumerate(changes)]
        manifest = point(number, disks).model_copy(update={"repository_id": REPOSITORY_ID})
        place = self.root / PATHS.manifests(manifest.backup.name, manifest.backup.uid)[0]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(manifest.to_json())
        self.points.append(manifest)
        return manifest

    def _add(self, number: int, index: int, parent: Manifest | None, change: dict[int, int]) -> ManifestDisk:
        made = layer(number, index, parent=(parent, index) if parent else None, virtual_size=SIZE)
        below = self.contents[parent.disks[index].file] if parent else bytes(CHUNKS)
        content = bytes(change.get(at, value) for at, value in enumerate(below))
        self.contents[made.file] = content
        path = self.root / made.file
        path.parent.mkdir(parents=True, exist_ok=True)
        backing = ["-u", "-b", PurePosixPath(made.parent.file).name, "-F", "qcow2"] if made.parent else []
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", qemu_tools.CREATE_OPTIONS, *backing, str(path)]
        subprocess.run([*create, str(SIZE)], check=True)
        writes = [
            f"write -{'z' if value == 0 else f'P {value}'} {at * CHUNK} {_length(at)}" for at, value in change.items()
        ]
        if writes:
            commands = [part for write in writes for part in ("-c", write)]
            subprocess.run(["qemu-io", "-f", "qcow2", *commands, str(path)], check=True, stdout=subprocess.DEVNULL)
        listing = _listing(content)
        (self.root / layout.digests_of(PurePosixPath(made.file))).write_bytes(listing)
        found = Digest(root=blake3(listing).hexdigest(), list=made.digest.list)
        return made.model_copy(update={"digest": found, "guest_bytes": 0})

    def flip(self, manifest: Manifest, chunk: int, disk: int = 0) -> None:
        """Flip a bit of a chunk that the layer of a restore point itself holds."""
        file = manifest.disks[disk].file
        path = self.root / file
        data = path.read_bytes()
        value = self.contents[file][chunk]
        at = data.index(bytes([value]) * (1 << 16)) + 100
        with path.open("r+b") as image:
            image.seek(at)
            image.write(bytes([value ^ 1]))

    def content(self, manifest: Manifest, disk: int = 0) -> bytes:
        """Return the bytes of a disk of a restore point."""
        return b"".join(
            bytes([value]) * _length(at) for at, value in enumerate(self.contents[manifest.disks[disk].file])
        )

    def truncate(self, manifest: Manifest) -> None:
        """Cut off the last data of a layer, so that only its length shows it."""
        path = self.root / manifest.disks[0].file
        with path.open("r+b") as image:
            image.truncate(path.stat().st_size - (1 << 16))


def marked(chain: LayeredChain) -> list[str]:
    """Return the names of the restore points that have damage marks."""
    points = read_chain(chain.root, PATHS).points
    return [point.manifest.backup.name for point in points if any(mark.is_damage for mark in point.unfit)]


def remove(chain: LayeredChain, number: int) -> None:
    """Remove a restore point; its layers stay until they are freed."""
    backup = chain.points[number - 1].backup
    entomb(chain.root, PATHS, Removal(vm="db", backup=backup.name, backup_uid=backup.uid))


def free(chain: LayeredChain) -> list[str]:
    """Free what nothing needs; return who pins what is kept."""
    lock = ChainLock.try_acquire(chain.root / PATHS.lock, chain.root, "maintenance")
    assert lock is not None
    with lock:
        freed = free_layers(chain.root, read_chain(chain.root, PATHS))
    return [item.pinned_by for item in freed.waiting if item.pinned_by]


def _length(chunk: int) -> int:
    return min(CHUNK, SIZE - chunk * CHUNK)


def _listing(content: Sequence[int]) -> bytes:
    return b"".join(digest(bytes([value]) * _length(at)) for at, value in enumerate(content))


async def next_layer(root: Path, virtual_size: int, layers: Sequence[ManifestDisk]) -> ManifestDisk:
    """Create an empty layer of a disk on the last one of `layers`, a full if there is none; its entry in a manifest."""
    number = len(layers) + 1
    parent = (point(number - 1, [layers[-1]]), 0) if layers else None
    made = layer(number, parent=parent, virtual_size=virtual_size)
    path = root / made.file
    path.parent.mkdir(parents=True, exist_ok=True)
    await qemu_tools.create(path, virtual_size, PurePosixPath(made.parent.file).name if made.parent else None)
    return made
