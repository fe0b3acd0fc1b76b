"""The layers of one disk with their digest lists, without a VM: one byte per sector says what it holds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from blake3 import blake3
from tests.dataplane.layered_chain import next_layer
from tests.dataplane.qemuio import QemuIo

from sendense_operator.chain import layout
from sendense_operator.chain.digests import Chunks, digest
from sendense_operator.chain.manifest import CHUNK, ManifestDisk
from sendense_operator.worker.images.layer_merge import Merge, MergedLayer, merge_layers
from sendense_operator.worker.images.merge_pace import Pace
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.storage.digest_file import DigestFile

SECTOR = 512

Write = tuple[int, int, int]
"""First sector, number of sectors, value. A value of 0 is written as zeroes; HOLE, ZERO: as below."""
ZERO = -1
"""As a value: zeroes without storage, in an increment explicit ones."""
HOLE = -2
"""As a value: zeroes whose storage may be given up."""


@dataclass
class Unlimited:
    """A pace without a limit, which counts."""

    chunks: int = 0
    taken: int = 0
    done: int = 0

    def before_chunk(self) -> None:
        self.chunks += 1

    def take(self, count: int) -> None:
        self.taken += count

    def advance(self, count: int) -> None:
        self.done += count


@dataclass
class LayerStack:
    """Layers of one disk, the full first; `add` makes the next one."""

    root: Path
    io: QemuIo
    size: int
    """Virtual size in bytes."""
    layers: list[ManifestDisk] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert self.io.block == SECTOR
        # Not below `root`, whose path may be too long for sockets in it.
        self.runtime = Path(tempfile.mkdtemp(prefix="sendense-"))

    async def add(self, writes: Iterable[Write]) -> None:
        """Add a layer, and freeze what the disk now holds."""
        made = await next_layer(self.root, self.size, self.layers)
        path = self.root / made.file
        content = bytearray(self.contents[-1] if self.contents else bytes(-(-self.size // SECTOR)))
        commands = []
        for first, count, value in writes:
            last = min(first + count, len(content))
            if first >= last:
                continue
            content[first:last] = bytes([max(0, value)]) * (last - first)
            how = {ZERO: "-z", HOLE: "-z -u"}.get(value, f"-P {value}")
            commands.append(f"write {how} {first * SECTOR} {(last - first) * SECTOR}")
        self.io.run(path, commands)
        listing = _listing(content, self.size)
        (self.root / made.digest.list).write_bytes(listing)
        found = made.digest.model_copy(update={"root": blake3(listing).hexdigest()})
        stored = path.stat().st_blocks * 512
        self.layers.append(made.model_copy(update={"digest": found, "stored_bytes": stored}))
        self.contents.append(bytes(content))

    def plan(self, top: int, removed: int) -> Merge:
        """Return the merge of layer `top` (from 0 on, the full first) with the `removed` layers below it."""
        stack = tuple(reversed(self.layers[: top + 1]))
        target = self.root / layout.partial(layout.merged_of(PurePosixPath(stack[0].file)))
        return Merge(self.root, stack, removed, target)

    async def merge(self, plan: Merge, pace: Pace | None = None) -> MergedLayer:
        """Merge as a consolidation does, up to the switch."""
        disk = plan.stack[0]
        with DigestFile.open(self.root / disk.digest.list, Chunks(self.size, CHUNK)) as digests:
            return await merge_layers(plan, digests, pace or Unlimited(), ModeChoice(), self.runtime, "merge")

    def switch(self, plan: Merge) -> None:
        """Put the merged layer in its place, and remove what is not needed any more."""
        plan.target.rename(plan.top)
        for disk in plan.stack[1 : plan.removed + 1]:
            (self.root / disk.file).unlink()

    def differs(self, number: int) -> str:
        """Return what qemu-io says against layer `number` (from 0 on) reading as it did; empty: nothing."""
        return self.io.differs(self.root / self.layers[number].file, self.contents[number], self.size)

    def files(self) -> dict[str, bytes]:
        """Return the digest of each file of the disk by name."""
        folder = (self.root / self.layers[0].file).parent
        return {path.name: digest(path.read_bytes()) for path in sorted(folder.iterdir())}


def _listing(content: bytes | bytearray, size: int) -> bytes:
    raw = b"".join(bytes([value]) * SECTOR for value in content)[:size]
    return b"".join(digest(raw[at : at + CHUNK]) for at in range(0, len(raw), CHUNK))
