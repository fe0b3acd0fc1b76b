"""One qemu-io for many images: starting a process costs more than what it does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

BLOCK = 4096
"""Bytes of guest content that have one value in the tests' disks."""
_PROMPT = b"qemu-io> "


def runs(content: bytes, chosen: Iterable[bool] | None = None) -> Iterator[tuple[int, int, int]]:
    """(first block, blocks, value) of equal neighbours in `content`, of the chosen blocks only."""
    wanted = list(chosen) if chosen is not None else [True] * len(content)
    for (value, is_wanted), group in groupby(range(len(content)), key=lambda at: (content[at], wanted[at])):
        blocks = list(group)
        if is_wanted:
            yield blocks[0], len(blocks), value


class QemuIo:
    """A running qemu-io; content is given as one byte for each `block` bytes."""

    def __init__(self, block: int = BLOCK) -> None:
        self.block = block
        self._process = subprocess.Popen(
            ["qemu-io"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        self._until_prompt()

    def write(
        self, image: Path, content: bytes, changed: Iterable[bool], size: int | None = None, zero: str = "-P 0"
    ) -> None:
        """Write the chosen blocks of `content`. `size`: of a disk whose last block is shorter; `zero`: how zeroes."""
        block = self.block
        end = size or len(content) * block
        commands = [
            f"write {f'-P {value}' if value else zero} {at * block} {min(count * block, end - at * block)}"
            for at, count, value in runs(content, changed)
        ]
        reported = self._ask([f"open -o driver=qcow2 {image}", *commands, "close"])
        assert reported.count("wrote ") == len(commands), reported

    def differs(self, image: Path, content: bytes, size: int | None = None) -> str:
        """Return what qemu-io says against the image holding exactly `content`; empty: nothing. `size` as above."""
        end = size or len(content) * self.block
        commands = [
            f"read -P {value} {at * self.block} {min(count * self.block, end - at * self.block)}"
            for at, count, value in runs(content)
        ]
        reported = self._ask([f"open -r -o driver=qcow2 {image}", "length", *commands, "close"])
        good = (
            reported.count("bytes at offset") == len(commands)
            and "failed" not in reported
            and "error" not in reported.lower()
        )
        return "" if good else reported

    def _ask(self, commands: list[str]) -> str:
        """Return one at a time: it looks for the next line only when its input becomes readable again."""
        assert self._process.stdin is not None
        reported = []
        for command in commands:
            self._process.stdin.write(command.encode() + b"\n")
            reported.append(self._until_prompt())
        return "".join(reported)

    def _until_prompt(self) -> str:
        assert self._process.stdout is not None
        reported = b""
        while not reported.endswith(_PROMPT):
            more = self._process.stdout.read(1 << 16)
            assert more, reported
            reported += more
        return reported.removesuffix(_PROMPT).decode()

    def run(self, image: Path, commands: list[str]) -> None:
        """Run commands that write to an image, each of which succeeds."""
        reported = self._ask([f"open -o driver=qcow2,discard=unmap {image}", *commands, "close"])
        assert reported.count("bytes at offset") == len(commands), reported

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def qemu_io(block: int = BLOCK) -> Iterator[QemuIo]:
    """One that ends with the block."""
    running = QemuIo(block)
    try:
        yield running
    finally:
        running.close()
