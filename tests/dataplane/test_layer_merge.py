"""Merges of real layers: the restore point above the run and all above it read as they did, in every sector."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.dataplane.layer_stack import HOLE, SECTOR, ZERO, LayerStack, Unlimited, Write
from tests.dataplane.qemuio import QemuIo, qemu_io

from sendense_operator.chain.manifest import CHUNK
from sendense_operator.worker.images import qemu_tools
from sendense_operator.worker.images.layer_merge import Merge
from sendense_operator.worker.images.nbd_client import Connection

SECTORS = CHUNK // SECTOR
_SIZES = (2 * CHUNK, CHUNK + 5 * (128 << 10) + 1536, 3 * CHUNK - 4096, CHUNK - 512, (128 << 10) + 512)
_LENGTHS = (1, 7, 8, 9, 64, 256, 257, 3000, SECTORS)
_VALUES = (1, 2, 3, 0, ZERO, HOLE)


@pytest.fixture(scope="module")
def io() -> Iterator[QemuIo]:
    with qemu_io(SECTOR) as running:
        yield running


async def _check_merge(made: LayerStack, plan: Merge, top: int) -> None:
    before = made.files()
    extents = await _extents(made, plan)
    pace = Unlimited()
    merged = await made.merge(plan, pace)
    after = made.files()
    assert after.pop(plan.target.name) and after == before, "only the new file was written"
    assert merged.stored_bytes == plan.target.stat().st_blocks * 512
    if not plan.becomes_full:
        assert merged.layer.coverage == extents
    found = await qemu_tools.map_layer(plan.target, made.size, CHUNK, len(plan.stack) - plan.removed)
    assert (merged.layer.coverage, merged.layer.guest_bytes) == (found.coverage, found.guest_bytes)
    await qemu_tools.check(plan.target)
    assert list(made.runtime.glob("*.pid")) == list(made.runtime.glob("*.sock")) == []
    made.switch(plan)
    for number in range(len(made.layers)):
        if not top - plan.removed <= number < top:
            assert made.differs(number) == "", number


async def _extents(made: LayerStack, plan: Merge) -> int:
    """How many bytes of the disk the layers of the run define together."""
    found = await qemu_tools.map_layer(plan.top, made.size, CHUNK, len(plan.stack), plan.removed + 1)
    return found.coverage


_RUNS = st.tuples(st.integers(0, 3 * SECTORS), st.sampled_from(_LENGTHS), st.sampled_from(_VALUES))
_STACKS = st.lists(st.lists(_RUNS, max_size=5), min_size=2, max_size=6)


@settings(
    max_examples=int(os.environ.get("SENDENSE_TEST_LIVES", "60")),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.sampled_from(_SIZES), _STACKS, st.data())
def test_random_stacks(
    io: QemuIo, tmp_path_factory: pytest.TempPathFactory, size: int, stack: list[list[Write]], data: st.DataObject
) -> None:
    async def run() -> None:
        root = tmp_path_factory.mktemp("random")
        made = LayerStack(root, io, size)
        for writes in stack:
            await made.add((first % (size // SECTOR), count, value) for first, count, value in writes)
        top = data.draw(st.integers(1, len(stack) - 1), "top")
        await _check_merge(made, made.plan(top, data.draw(st.integers(1, top), "removed")), top)
        shutil.rmtree(root)
        shutil.rmtree(made.runtime)

    asyncio.run(run())


@pytest.mark.parametrize("size", _SIZES)
def test_each_run_of_a_stack(io: QemuIo, tmp_path: Path, size: int) -> None:
    """Five layers, of which any run is merged into the layer above it."""
    chance = random.Random(size)

    async def run() -> None:
        made = LayerStack(tmp_path / "made", io, size)
        for _ in range(5):
            await made.add(
                (chance.randrange(size // SECTOR), chance.choice(_LENGTHS), chance.choice(_VALUES)) for _ in range(12)
            )
        for top, removed in itertools.product(range(1, 5), range(1, 5)):
            if removed <= top:
                root = tmp_path / f"{top}-{removed}"
                shutil.copytree(made.root, root)
                copy = LayerStack(root, io, size, made.layers, made.contents)
                await _check_merge(copy, copy.plan(top, removed), top)

    asyncio.run(run())


async def three(root: Path, io: QemuIo) -> LayerStack:
    """A full and three increments, of which the second hides data with zeroes, and all overlap."""
    made = LayerStack(root, io, 3 * CHUNK + 1536)
    await made.add([(0, 2 * SECTORS, 1), (3 * SECTORS, 3, 9)])
    await made.add([(104, 400, 2), (SECTORS, 2000, 3)])
    await made.add([(200, 80, ZERO), (SECTORS + 8, 64, 4), (2 * SECTORS, 64, ZERO)])
    await made.add([(240, 8, 5)])
    return made


def test_zeroes_over_data_of_the_full(io: QemuIo, tmp_path: Path) -> None:
    """They stay explicit, and so do those over nothing."""

    async def run() -> None:
        made = await three(tmp_path, io)
        plan = made.plan(2, 1)
        assert (plan.becomes_full, plan.depth) == (False, 2)
        assert plan.backing == PurePosixPath(made.layers[0].file).name
        merged = await made.merge(plan)
        assert merged.written_bytes == merged.layer.guest_bytes == (400 - 80 + 2000) * SECTOR
        assert merged.layer.coverage == (400 + 2000 + 64) * SECTOR

    asyncio.run(run())


@pytest.mark.parametrize("removed", [1, 2])
def test_only_zeroes_of_a_full_may_become_holes(
    io: QemuIo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    """QEMU keeps zeroes explicit anyway, but it is the request that promises it."""
    zero, holes = Connection.zero, set[bool]()

    def zeroing(connection: Connection, start: int, length: int, *, hole: bool) -> None:
        holes.add(hole)
        zero(connection, start, length, hole=hole)

    monkeypatch.setattr(Connection, "zero", zeroing)

    async def run() -> None:
        made = await three(tmp_path, io)
        plan = made.plan(2, removed)
        await made.merge(plan)
        assert holes == {plan.becomes_full}

    asyncio.run(run())


def test_progress_and_pace(io: QemuIo, tmp_path: Path) -> None:
    """Each written and each proven byte waits for its turn; both phases advance by whole chunks."""

    async def run() -> None:
        made = await three(tmp_path, io)
        pace = Unlimited()
        merged = await made.merge(made.plan(2, 1), pace)
        chunks = 3
        read = 2 * CHUNK
        assert pace.taken == merged.written_bytes + read
        assert pace.done == chunks * CHUNK + read
        assert pace.chunks == chunks + 2

    asyncio.run(run())


def test_a_run_must_be_below_its_layer(io: QemuIo, tmp_path: Path) -> None:
    made = asyncio.run(three(tmp_path, io))
    for removed in (0, 3):
        with pytest.raises(ValueError, match="of the 2 layers below"):
            made.plan(2, removed)
