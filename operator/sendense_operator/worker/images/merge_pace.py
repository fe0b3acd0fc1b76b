"""What a merge asks and tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Pace(Protocol):
    """The pace of a merge; several threads call it at the same time, and what it raises ends the merge."""

    def before_chunk(self) -> None:
        """Raise WorkerError if the merge has to stop; asked before each chunk that is written or read back."""

    def take(self, count: int) -> None:
        """Wait until `count` bytes may be written or read back. It must return soon once the merge is given up."""

    def advance(self, count: int) -> None:
        """Record that `count` bytes of the disk, or of the copied full, were written or read back."""


@dataclass(frozen=True)
class ReadBack:
    """The pace of the proof, as `content_digests.read_chunks` asks for it."""

    pace: Pace

    def before(self, length: int) -> None:
        """Wait until a chunk of `length` bytes may be read."""
        self.pace.before_chunk()
        self.pace.take(length)

    def after(self, length: int) -> None:
        """Record that a chunk of `length` bytes was read."""
        self.pace.advance(length)
