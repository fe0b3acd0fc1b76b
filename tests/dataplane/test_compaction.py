"""Compaction of real increments: what is stored reads as what was received, whatever happens on the way."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.dataplane.qemuio import BLOCK, QemuIo, qemu_io
from tests.dataplane.received_increment import ReceivedIncrement, Write

from sendense_operator.answer import Capacity
from sendense_operator.chain import compaction
from sendense_operator.chain.compaction import CompactionResult
from sendense_operator.chain.manifest import CHUNK
from sendense_operator.task import Compaction
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images import difference_proof, layer_compaction, layer_difference, qemu_tools
from sendense_operator.worker.images.layer_verification import Sealed
from sendense_operator.worker.images.nbd_client import Connection

MIB = 1 << 20
BLOCKS = CHUNK // BLOCK


@pytest.fixture(scope="module")
def io() -> Iterator[QemuIo]:
    with qemu_io() as running:
        yield running


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small increments are compacted, too."""
    monkeypatch.setattr(compaction, "LEAST_GAIN", 0)
    monkeypatch.setattr(compaction, "MOST_READ", CHUNK)


_SIZES = (BLOCKS * BLOCK, 2 * CHUNK + 5 * BLOCK, CHUNK + 3 * BLOCK + 1536, 7 * BLOCK + 512)
_RUNS = st.tuples(st.integers(0, 2 * BLOCKS + 5), st.sampled_from((1, 2, 15, 16, 17, 31, 64, 300, 2000)))
_WRITES = st.lists(st.tuples(_RUNS, st.integers(0, 3)).map(lambda run: (*run[0], run[1])), max_size=6)


@settings(
    max_examples=int(os.environ.get("SENDENSE_TEST_LIVES", "100")),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.sampled_from(_SIZES), _WRITES, _WRITES, _WRITES, st.lists(_RUNS, max_size=4), st.sampled_from(("-P 0", "-z")))
def test_random_increments(
    io: QemuIo,
    tmp_path_factory: pytest.TempPathFactory,
    size: int,
    full: list[Write],
    parent: list[Write],
    changes: list[Write],
    unchanged: list[tuple[int, int]],
    zero: str,
) -> None:
    async def run() -> None:
        root = tmp_path_factory.mktemp("random")
        made = ReceivedIncrement(root, io, size)
        last = -(-size // BLOCK)
        within = [[write for write in writes if write[0] < last] for writes in (full, parent, changes)]
        await made.commit(within[0])
        await made.commit(within[1])
        await made.receive(within[2], [run for run in unchanged if run[0] < last], zero)
        sealed = await made.seal()
        await made.assert_sealed(sealed)
        if sealed.compaction is CompactionResult.COMPACTED:
            assert sealed.changed_bytes == sealed.layer.coverage == made.changed()
        elif sealed.compaction is CompactionResult.NOT_SMALLER:
            assert sealed.changed_bytes == made.changed()
        else:
            assert sealed.compaction is CompactionResult.NOT_WORTH_IT, "it defines nothing but zeroes"
            assert sealed.layer.guest_bytes == 0
        shutil.rmtree(root)
        shutil.rmtree(made.runtime)

    asyncio.run(run())


async def received(root: Path, io: QemuIo, size: int = 3 * CHUNK) -> ReceivedIncrement:
    """An increment of which less than half differs from the parent; some of that became zeroes."""
    made = ReceivedIncrement(root, io, size)
    await made.commit([(0, 2 * BLOCKS, 1)])
    await made.commit([(100, 400, 2)])
    await made.receive([(10, 50, 3), (300, 20, 0), (2 * BLOCKS + 5, 3, 4)], [(0, BLOCKS), (2 * BLOCKS, 100)])
    return made


@pytest.mark.parametrize("pattern", ["4k", "64k", "runs"])
def test_what_is_stored(io: QemuIo, tmp_path: Path, pattern: str) -> None:
    """It is what changed, however much more was sent."""
    size, changed = 256 * MIB, 12 * MIB
    chance = random.Random(pattern)
    length = {"4k": 1, "64k": 16, "runs": 512}[pattern]
    count = changed // BLOCK // length
    places = sorted(chance.sample(range(size // BLOCK // length - 1), count))

    async def run() -> tuple[ReceivedIncrement, Sealed]:
        made = ReceivedIncrement(tmp_path / "root", io, size)
        await made.commit([(0, size // BLOCK, 1)])
        await made.commit([])
        await made.receive([(place * length, length, 2) for place in places], [(0, size // BLOCK - 1)])
        assert made.partial.stat().st_blocks * 512 > 250 * MIB
        return made, await made.seal()

    made, sealed = asyncio.run(run())
    assert sealed.compaction is CompactionResult.COMPACTED
    assert sealed.changed_bytes == made.changed() == changed
    assert sealed.stored_bytes <= 1.15 * changed
    asyncio.run(made.assert_sealed(sealed))


def test_a_zeroed_area(io: QemuIo, tmp_path: Path) -> None:
    """Zeroes hide the parent's data, and take no room."""

    async def run() -> None:
        made = ReceivedIncrement(tmp_path / "root", io, 4 * CHUNK)
        await made.commit([(0, 2 * BLOCKS, 1)])
        await made.commit([])
        await made.receive([(0, 4 * BLOCKS - 1, 0), (5, 1, 3)], [])
        sealed = await made.seal()
        assert sealed.compaction is CompactionResult.COMPACTED
        assert sealed.changed_bytes == sealed.layer.coverage == 2 * CHUNK
        assert sealed.layer.guest_bytes == BLOCK
        await made.assert_sealed(sealed)

    asyncio.run(run())


def test_all_of_it_changed(io: QemuIo, tmp_path: Path) -> None:
    async def run() -> None:
        made = ReceivedIncrement(tmp_path / "root", io, 2 * CHUNK)
        await made.commit([(0, 2 * BLOCKS, 1)])
        await made.commit([])
        await made.receive([(0, 500, 2)], [])
        before = made.partial.read_bytes()
        sealed = await made.seal()
        assert (sealed.compaction, sealed.changed_bytes) == (CompactionResult.NOT_SMALLER, 500 * BLOCK)
        assert made.partial.read_bytes() == before
        await made.assert_sealed(sealed)

    asyncio.run(run())


Refuse = Callable[..., None]


@pytest.fixture
def refused(io: QemuIo, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Refuse:
    """Check that an increment is stored as received, byte for byte, with its own digests, and nothing else is left.

    `why`: what the log says of a failure.
    """

    async def run(result: CompactionResult, why: str = "", **options: Any) -> None:
        made = await received(tmp_path / "root", io)
        before = made.partial.read_bytes()
        sealed = await made.seal(**options)
        assert (sealed.compaction, sealed.changed_bytes) == (result, None)
        assert why in caplog.text
        assert made.partial.read_bytes() == before
        await made.assert_sealed(sealed)

    return lambda *arguments, **options: asyncio.run(run(*arguments, **options))


def test_never(refused: Refuse) -> None:
    refused(CompactionResult.NEVER, compaction=Compaction.NEVER)


def test_not_worth_it(refused: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "LEAST_GAIN", 8 * MIB)
    refused(CompactionResult.NOT_WORTH_IT)


def test_no_room(refused: Refuse) -> None:
    refused(CompactionResult.NO_ROOM, min_free=1 << 60)


def test_no_room_any_more(refused: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer has filled the repository meanwhile."""
    left = iter([1 << 40])
    monkeypatch.setattr(
        layer_compaction, "capacity", lambda _: Capacity(total=1 << 50, free=next(left, compaction.SPARE - 1))
    )
    refused(CompactionResult.NO_ROOM)


@pytest.mark.parametrize("state", [1, 2], ids=["at once", "after the first write"])
def test_a_volume_that_is_full(refused: Refuse, monkeypatch: pytest.MonkeyPatch, state: int) -> None:
    """The server's writes fail before the worker sees that there is no room."""
    rules = {
        "inject-error.0.event": "write_aio",
        "inject-error.0.errno": errno.ENOSPC,
        "inject-error.0.state": state,
        "set-state.0.event": "write_aio",
        "set-state.0.state": 1,
        "set-state.0.new_state": 2,
    }

    def options(path: Path, *_: Any) -> str:
        file = f"driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename={path}"
        return ",".join([file, *(f"file.{name}={value}" for name, value in rules.items())])

    monkeypatch.setattr(qemu_tools, "write_options", options)
    refused(CompactionResult.FAILED, "No space left on device")


@pytest.mark.parametrize("where", ["create", "read_header", "check", "map_layer"])
def test_a_tool_that_fails(refused: Refuse, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    tool = getattr(qemu_tools, where)

    def fails(path: Path, *arguments: Any) -> Any:
        if ".compact." in path.name:
            raise WorkerError(Reason.STORAGE_ERROR, "as if it failed")
        return tool(path, *arguments)

    monkeypatch.setattr(qemu_tools, where, fails)
    refused(CompactionResult.FAILED, "as if it failed")


@pytest.mark.parametrize("lost", ["data", "zeroes", "content", "place", "bounds"])
def test_a_difference_that_is_not_written(refused: Refuse, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    """The layer is a valid image: only what is read back tells."""
    write = layer_difference._Reader._write

    def loses(reader: layer_difference._Reader, new: Any, chunk: int, run: compaction.Difference) -> None:
        if lost == ("zeroes" if run.is_zero else "data"):
            return
        if lost == "content" and not run.is_zero:
            new = bytes(len(new))
        if lost == "place":
            chunk -= BLOCK if run.start else 0
        if lost == "bounds" and run.end + BLOCK <= CHUNK:
            run = compaction.Difference(run.start, run.end + BLOCK, run.is_zero)
        write(reader, new, chunk, run)

    monkeypatch.setattr(layer_difference._Reader, "_write", loses)
    refused(CompactionResult.FAILED, "does not hold what was written to it")


def test_a_difference_that_storage_does_not_return(refused: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    prove = difference_proof.prove_difference

    def flips(layer: Path, *arguments: Any) -> Coroutine[Any, Any, None]:
        content = layer.read_bytes().rstrip(b"\0")
        with layer.open("r+b") as file:
            file.seek(len(content) - 1)
            file.write(bytes([content[-1] ^ 1]))
        return prove(layer, *arguments)

    monkeypatch.setattr(difference_proof, "prove_difference", flips)
    refused(CompactionResult.FAILED, "does not hold what was written to it")


def test_a_change_that_is_overlooked(refused: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_difference, "find_differences", lambda _new, _old: iter(()))
    refused(CompactionResult.FAILED, "has overlooked changes")


async def with_an_unchanged_chunk(root: Path, io: QemuIo) -> ReceivedIncrement:
    """An increment of two chunks, of which the second was sent although all of it is as before."""
    made = ReceivedIncrement(root, io, 3 * CHUNK)
    await made.commit([(0, BLOCKS, 1), (BLOCKS, BLOCKS, 2)])
    await made.commit([])
    await made.receive([(10, 50, 3)], [(0, 2 * BLOCKS)])
    return made


def test_an_unchanged_chunk_of_the_parent_is_not_read(
    io: QemuIo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest is known."""
    read, starts = Connection.read, list[int]()

    def reading(connection: Connection, start: int, length: int) -> bytearray:
        starts.append(start)
        return read(connection, start, length)

    monkeypatch.setattr(Connection, "read", reading)

    async def run() -> None:
        made = await with_an_unchanged_chunk(tmp_path / "root", io)
        sealed = await made.seal()
        assert (sealed.compaction, sealed.changed_bytes) == (CompactionResult.COMPACTED, 50 * BLOCK)
        await made.assert_sealed(sealed)

    asyncio.run(run())
    proof = 10 * BLOCK
    assert sorted(starts) == [0, 0, proof, CHUNK]


def test_a_damaged_parent_of_an_unchanged_chunk(io: QemuIo, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was received is right, and is kept."""

    async def run() -> None:
        made = await with_an_unchanged_chunk(tmp_path / "root", io)
        path = made.root / made.layers[0].file
        at = path.read_bytes().index(b"\2" * CHUNK) + 100
        with path.open("r+b") as file:
            file.seek(at)
            file.write(b"\3")
        sealed = await made.seal()
        assert sealed.compaction is CompactionResult.FAILED
        await made.assert_sealed(sealed)

    asyncio.run(run())
    assert f"does not read as the received one at byte {CHUNK}" in caplog.text


@pytest.mark.parametrize("step", ["create", "write", "prove", "rename"])
def test_a_lost_lock_ends_the_attempt(io: QemuIo, tmp_path: Path, step: str) -> None:
    async def run() -> None:
        made = await received(tmp_path / "root", io)
        before = made.partial.read_bytes()

        def lost(name: str) -> None:
            if name.startswith(f"compact: {step} "):
                raise WorkerError(Reason.FENCED, "another worker has the lock")

        with pytest.raises(WorkerError, match="Fenced"):
            await made.seal(on_step=lost)
        assert made.partial.read_bytes() == before

    asyncio.run(run())
