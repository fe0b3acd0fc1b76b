"""Merges that fail: no merged layer counts, the inputs are as they were, and the error says what happened."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.dataplane.host import small_file_system
from tests.dataplane.layer_stack import SECTOR, ZERO, LayerStack, Unlimited
from tests.dataplane.qemuio import QemuIo, qemu_io

from sendense_operator.chain.manifest import CHUNK
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images import qemu_tools
from sendense_operator.worker.images.merge_pace import Pace
from sendense_operator.worker.images.nbd_client import Connection

SECTORS = CHUNK // SECTOR
MIB = 1 << 20

pytestmark = pytest.mark.parametrize("removed", [1, 2], ids=["increments", "full"])


@pytest.fixture(scope="module")
def io() -> Iterator[QemuIo]:
    with qemu_io(SECTOR) as running:
        yield running


async def make(root: Path, io: QemuIo) -> LayerStack:
    """A full and three increments; each of the first three defines something that the merge of them shows."""
    made = LayerStack(root, io, 3 * CHUNK)
    await made.add([(0, SECTORS + 64, 1)])
    await made.add([(104, 400, 2), (2 * SECTORS, 2000, 3)])
    await made.add([(200, 80, ZERO), (2 * SECTORS + 8, 64, 4)])
    await made.add([(240, 8, 5)])
    return made


def refused(made: LayerStack, removed: int, pace: Pace | None = None) -> WorkerError:
    """Merge into the third layer: it fails, and nothing but the partial differs."""
    before = made.files()
    plan = made.plan(2, removed)
    with pytest.raises(WorkerError) as raised:
        asyncio.run(made.merge(plan, pace))
    plan.target.unlink(missing_ok=True)
    assert made.files() == before
    assert list(made.runtime.glob("*.sock")) == []
    return raised.value


def flip(made: LayerStack, layer: int, value: int) -> None:
    """Flip a bit in the first 64 sectors of a value in a layer's file."""
    path = made.root / made.layers[layer].file
    at = path.read_bytes().index(bytes([value]) * (64 * SECTOR)) + 100
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([value ^ 16]))


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_flipped_bit(io: QemuIo, tmp_path: Path, removed: int, layer: int) -> None:
    """Only the digest list shows it; in the layer below the run, it would be there as before."""
    made = asyncio.run(make(tmp_path, io))
    flip(made, layer, {0: 1, 1: 3, 2: 4}[layer])
    error = refused(made, removed)
    assert error.reason == Reason.IMAGE_CORRUPT
    assert "does not read as the restore point at byte" in error.message


def test_a_wrong_digest_list(io: QemuIo, tmp_path: Path, removed: int) -> None:
    made = asyncio.run(make(tmp_path, io))
    listing = made.root / made.layers[2].digest.list
    listing.write_bytes(bytes(len(listing.read_bytes())))
    error = refused(made, removed)
    assert (error.reason, "not the one that the manifest names" in error.message) == (Reason.IMAGE_CORRUPT, True)


def test_zeroes_that_the_digests_do_not_know(io: QemuIo, tmp_path: Path, removed: int) -> None:
    """A chunk that no server has to be asked for is compared, too."""

    async def run() -> LayerStack:
        made = LayerStack(tmp_path, io, 3 * CHUNK)
        await made.add([(0, 64, 1)])
        await made.add([(SECTORS, SECTORS, 2)])
        await made.add([(8, 8, 3)])
        # The run's data is lost together with what points to it, and the image is sound.
        io.run(made.root / made.layers[1].file, [f"write -z {CHUNK} {CHUNK}"])
        return made

    error = refused(asyncio.run(run()), removed)
    assert error.message.endswith(f"at byte {CHUNK} of the disk")


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_truncated_input(io: QemuIo, tmp_path: Path, removed: int, layer: int) -> None:
    made = asyncio.run(make(tmp_path, io))
    path = made.root / made.layers[layer].file
    os.truncate(path, path.stat().st_size - (128 << 10))
    error = refused(made, removed)
    assert error.reason == Reason.IMAGE_CORRUPT
    assert path.name in error.message


def test_an_input_on_another_file(io: QemuIo, tmp_path: Path, removed: int) -> None:
    """A layer whose header names a file that the manifest doesn't is not opened."""
    made = asyncio.run(make(tmp_path, io))
    path = made.root / made.layers[1].file
    subprocess.run(["qemu-img", "rebase", "-u", "-b", "/etc/passwd", "-F", "raw", str(path)], check=True)
    assert refused(made, removed).reason == Reason.IMAGE_CORRUPT


class Killer(Unlimited):
    """A pace that kills a server at its nth call, if it runs then."""

    def __init__(self, pid_file: Path, number: int) -> None:
        super().__init__()
        self._pid_file, self._left, self.killed = pid_file, number, False

    def call(self) -> None:
        """Count one call."""
        self._left -= 1
        if self._left == 0 and self._pid_file.exists():
            os.kill(int(self._pid_file.read_text()), signal.SIGKILL)
            self.killed = True

    def before_chunk(self) -> None:
        self.call()

    def take(self, count: int) -> None:
        self.call()

    def advance(self, count: int) -> None:
        self.call()


@pytest.mark.parametrize("server", ["source", "target", "proof"])
def test_a_killed_server(io: QemuIo, tmp_path: Path, removed: int, server: str) -> None:
    """At each call of the pace; the last ones come when all was written or read, but not yet flushed."""
    made = asyncio.run(make(tmp_path, io))
    count = 0
    for number in range(1, 200):
        killer = Killer(made.runtime / f"merge-{server}.pid", number)
        plan = made.plan(2, removed)
        before = made.files()
        try:
            asyncio.run(made.merge(plan, killer))
        except WorkerError as error:
            assert killer.killed, error
            assert error.reason in (Reason.EXPORT_FAILED, Reason.STORAGE_ERROR)
            count += 1
        else:
            assert not killer.killed
            if count:
                break
        plan.target.unlink(missing_ok=True)
        assert made.files() == before
    assert count >= 6


@pytest.mark.parametrize("method", ["flush", "close"])
def test_a_server_killed_at_the_end(
    io: QemuIo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int, method: str
) -> None:
    """All writes and the flush were answered: what the server had not written is lost, and nothing shows it."""
    made = asyncio.run(make(tmp_path, io))
    original: Callable[[Connection], None] = getattr(Connection, method)
    killer = Killer(made.runtime / "merge-target.pid", 1)

    def killing(connection: Connection) -> None:
        original(connection)
        killer.call()

    monkeypatch.setattr(Connection, method, killing)
    error = refused(made, removed)
    assert (error.reason, killer.killed) == (Reason.EXPORT_FAILED, True)


@pytest.mark.parametrize("reason", [Reason.FENCED, Reason.REPOSITORY_FULL])
def test_a_merge_that_has_to_stop(io: QemuIo, tmp_path: Path, removed: int, reason: Reason) -> None:
    """At each chunk, written, copied or read back."""
    made = asyncio.run(make(tmp_path, io))
    pace = Unlimited()
    plan = made.plan(2, removed)
    asyncio.run(made.merge(plan, pace))
    plan.target.unlink()

    class Stop(Unlimited):
        def __init__(self, last: int) -> None:
            super().__init__()
            self._last = last

        def before_chunk(self) -> None:
            super().before_chunk()
            if self.chunks == self._last:
                raise WorkerError(reason, "as if it had to")

    assert pace.chunks >= 4
    for last in range(1, pace.chunks + 1):
        assert refused(made, removed, Stop(last)).reason == reason


Lose = Callable[[Connection, Any, int], None]


@pytest.mark.parametrize("lost", ["data", "zeroes", "content"])
def test_a_write_that_is_lost(
    io: QemuIo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int, lost: str
) -> None:
    """The new layer is a valid image: only its extents or its digests tell."""
    write, zero = Connection.write, Connection.zero

    def lose(connection: Connection, data: Any, start: int) -> None:
        if lost != "data":
            write(connection, bytes(len(data)) if lost == "content" else data, start)

    def keep(connection: Connection, start: int, length: int, *, hole: bool) -> None:
        if lost != "zeroes":
            zero(connection, start, length, hole=hole)

    monkeypatch.setattr(Connection, "write", lose)
    monkeypatch.setattr(Connection, "zero", keep)
    made = asyncio.run(make(tmp_path, io))
    assert refused(made, removed).reason == Reason.IMAGE_CORRUPT


def test_more_than_the_inputs_define(io: QemuIo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int) -> None:
    """What the layer below has would be right today, but it is not what was merged; in a full, it is wrong."""
    write = Connection.write

    def more(connection: Connection, data: Any, start: int) -> None:
        write(connection, data, start)
        write(connection, b"\1" * 4096, CHUNK)

    monkeypatch.setattr(Connection, "write", more)

    async def run() -> LayerStack:
        made = LayerStack(tmp_path, io, 3 * CHUNK)
        await made.add([(SECTORS, 8, 1)] if removed == 1 else [])
        await made.add([(0, 8, 2)])
        await made.add([(8, 8, 3)])
        return made

    made = asyncio.run(run())
    error = refused(made, removed)
    assert error.reason == Reason.IMAGE_CORRUPT
    if removed == 1:
        assert "does not define the same parts" in error.message


@pytest.mark.parametrize("where", ["create", "read_header", "check", "map_layer"])
def test_a_tool_that_fails(
    io: QemuIo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int, where: str
) -> None:
    made = asyncio.run(make(tmp_path, io))
    tool = getattr(qemu_tools, where)

    def fails(path: Path, *arguments: Any) -> Any:
        if ".merged." in path.name:
            raise WorkerError(Reason.STORAGE_ERROR, "as if it failed")
        return tool(path, *arguments)

    monkeypatch.setattr(qemu_tools, where, fails)
    if where == "create" and removed == 2:
        asyncio.run(made.merge(made.plan(2, removed)))  # a full is copied instead
    else:
        assert refused(made, removed).message == "as if it failed"


def test_a_write_back_that_fails(io: QemuIo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int) -> None:
    """The kernel tells the descriptor that was opened before the server wrote."""
    made = asyncio.run(make(tmp_path, io))
    opened = list[Path]()

    def failing(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        assert path.name.endswith(".merged.partial")
        opened.append(path)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    assert refused(made, removed).reason == Reason.STORAGE_ERROR
    assert opened


@contextmanager
def _filled(folder: Path, free: int) -> Iterator[None]:
    """Leave `free` bytes of a file system."""
    filler = folder / "filler"
    found = os.statvfs(folder)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - free)
    try:
        yield
    finally:
        filler.unlink()


def test_a_full_volume(io: QemuIo, tmp_path: Path, removed: int) -> None:
    """At each 128 KiB that the merge needs, until it has enough room."""
    with small_file_system(tmp_path) as small:
        if small is None:
            pytest.skip("no small file system can be mounted here")
        made = asyncio.run(make(small / "repository", io))
        failed = 0
        try:
            for free in range(0, 32 * MIB, 128 << 10):
                with _filled(small, free):
                    try:
                        asyncio.run(made.merge(made.plan(2, removed)))
                        break
                    except WorkerError as error:
                        assert error.reason in (Reason.REPOSITORY_FULL, Reason.STORAGE_ERROR)
                        failed += 1
                    finally:
                        made.plan(2, removed).target.unlink(missing_ok=True)
                assert made.differs(3) == ""
            assert failed >= 6
        finally:
            shutil.rmtree(small / "repository")
