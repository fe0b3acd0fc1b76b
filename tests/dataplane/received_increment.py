"""An increment as the appliance sends it, on a parent of two layers, without a VM: one byte per block of content."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from blake3 import blake3
from tests.dataplane.layered_chain import next_layer
from tests.dataplane.qemuio import BLOCK, QemuIo
from tests.support.chains import layer, point

from sendense_operator.chain import layout
from sendense_operator.chain.digests import digest
from sendense_operator.chain.manifest import CHUNK, ManifestDisk
from sendense_operator.chain.parent_choice import ParentLayer
from sendense_operator.task import BackupType, Compaction
from sendense_operator.worker.images import qemu_tools
from sendense_operator.worker.images.layer_compaction import CompactionRun
from sendense_operator.worker.images.layer_verification import Examined, Sealed, seal
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.storage.commit import no_step

Write = tuple[int, int, int]
"""First block, number of blocks, value."""


@dataclass
class ReceivedIncrement:
    """Three layers of one disk, of which the uppermost is not committed; the caller writes to each."""

    root: Path
    io: QemuIo
    size: int
    """Virtual size in bytes."""
    layers: list[ManifestDisk] = field(default_factory=list)
    """Committed ones, the full first."""
    content: bytes = b""

    def __post_init__(self) -> None:
        self.content = bytes(-(-self.size // BLOCK))
        self.before = self.content
        # Not below `root`, whose path may be too long for sockets in it.
        self.runtime = Path(tempfile.mkdtemp(prefix="sendense-"))

    async def commit(self, writes: list[Write]) -> None:
        """Add a committed layer."""
        made = await next_layer(self.root, self.size, self.layers)
        path = self.root / made.file
        self._write(path, writes)
        listing = self.listing()
        (self.root / made.digest.list).write_bytes(listing)
        found = made.digest.model_copy(update={"root": blake3(listing).hexdigest()})
        self.layers.append(made.model_copy(update={"digest": found}))
        self.before = self.content

    async def receive(self, writes: list[Write], unchanged: list[tuple[int, int]], zero: str = "-P 0") -> None:
        """Write the increment: changes, and (first, count) of blocks that are sent although they are as before."""
        parent = (point(len(self.layers), [self.layers[-1]]), 0)
        self.file = PurePosixPath(layer(9, parent=parent, virtual_size=self.size).file)
        await qemu_tools.create(self.partial, self.size, PurePosixPath(self.layers[-1].file).name)
        sent = [(first, count, -1) for first, count in unchanged]
        self._write(self.partial, [*writes, *sent], zero)

    def _write(self, path: Path, writes: list[Write], zero: str = "-P 0") -> None:
        content, chosen = bytearray(self.content), [False] * len(self.content)
        for first, count, value in writes:
            for at in range(first, min(first + count, len(content))):
                chosen[at] = True
                content[at] = content[at] if value < 0 else value
        self.content = bytes(content)
        self.io.write(path, self.content, chosen, self.size, zero)

    @property
    def partial(self) -> Path:
        """The increment's file."""
        return self.root / layout.partial(self.file)

    def listing(self, content: bytes | None = None) -> bytes:
        """Return the digest list of `content`, of the disk as it is now if there is none."""
        blocks = self.content if content is None else content
        raw = b"".join(bytes([value]) * BLOCK for value in blocks)[: self.size]
        return b"".join(digest(raw[at : at + CHUNK]) for at in range(0, len(raw), CHUNK))

    def changed(self) -> int:
        """Return the bytes that differ from the parent."""
        pairs = enumerate(zip(self.before, self.content, strict=True))
        return sum(min(BLOCK, self.size - at * BLOCK) for at, (old, new) in pairs if old != new)

    async def seal(
        self,
        compaction: Compaction = Compaction.AUTO,
        min_free: int = 0,
        on_step: Callable[[str], None] = no_step,
    ) -> Sealed:
        """Seal it as an attempt does."""
        stack = tuple(reversed(self.layers))
        parent = ParentLayer(point(len(self.layers), [self.layers[-1]]), self.layers[-1], stack)
        found = await qemu_tools.map_layer(self.partial, self.size, CHUNK, len(stack) + 1)
        examined = Examined(found, BackupType.INCREMENTAL, None)
        run = CompactionRun(compaction, min_free, on_step)
        return await seal(self.root, self.file, 0, examined, parent, ModeChoice(), self.runtime, run)

    async def assert_sealed(self, sealed: Sealed) -> None:
        """It reads as what was sent, in every block, and its digests and sums are its own."""
        assert self.io.differs(self.partial, self.content, self.size) == ""
        assert (self.root / layout.partial(layout.digests_of(self.file))).read_bytes() == self.listing()
        assert sealed.digest.root == blake3(self.listing()).hexdigest()
        assert sealed.stored_bytes == self.partial.stat().st_blocks * 512
        found = await qemu_tools.map_layer(self.partial, self.size, CHUNK, len(self.layers) + 1)
        assert (sealed.layer.coverage, sealed.layer.guest_bytes) == (found.coverage, found.guest_bytes)
        assert list(self.partial.parent.glob("*.compact*")) == []
        await qemu_tools.check(self.partial)
        qemu_tools.read_header(self.partial, self.size, PurePosixPath(self.layers[-1].file).name)
