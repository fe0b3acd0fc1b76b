from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.chain.compaction import (
    BLOCK,
    LEAST_GAIN,
    MOST_READ,
    SPARE,
    CompactionResult,
    Difference,
    Received,
    decide_compaction,
    find_differences,
    fingerprint,
    is_complete,
    joined,
)

MIB, GIB = 1 << 20, 1 << 30


def decided(
    guest: int = 100 * MIB, touched: int = GIB, stored: int = 101 * MIB, free: int = GIB, min_free: int = 0
) -> CompactionResult | None:
    return decide_compaction(Received(guest, touched, stored), free, min_free)


def test_it_is_worth_its_reads() -> None:
    assert decided() is None
    assert decided(guest=LEAST_GAIN) is CompactionResult.NOT_WORTH_IT, "a gibibyte is read for a mebibyte"
    assert decided(guest=LEAST_GAIN, touched=MOST_READ * LEAST_GAIN) is None
    assert decided(guest=LEAST_GAIN, touched=MOST_READ * LEAST_GAIN + 1) is CompactionResult.NOT_WORTH_IT
    assert decided(guest=LEAST_GAIN - 1, touched=4 * MIB) is CompactionResult.NOT_WORTH_IT
    assert decided(guest=0, touched=0) is CompactionResult.NOT_WORTH_IT


def test_changed_blocks_of_vmware_in_chunks_of_their_own_are_worth_it() -> None:
    assert decided(guest=1000 * (64 << 10), touched=1000 * (4 << 20)) is None


def test_both_layers_need_room() -> None:
    assert decided(free=101 * MIB + SPARE) is None
    assert decided(free=101 * MIB + SPARE - 1) is CompactionResult.NO_ROOM
    assert decided(free=101 * MIB + SPARE + 5, min_free=5) is None
    assert decided(free=101 * MIB + SPARE + 4, min_free=5) is CompactionResult.NO_ROOM


_SIZES = st.one_of(
    st.integers(0, 3), st.sampled_from((BLOCK - 512, BLOCK, BLOCK + 512, 16 * BLOCK, 16 * BLOCK + 512, 40 * BLOCK + 1))
)
_SPOTS = st.lists(st.tuples(st.integers(0, 40 * BLOCK), st.sampled_from((1, 700, BLOCK, 5 * BLOCK)), st.integers(0, 2)))


def _written(size: int, spots: list[tuple[int, int, int]], onto: bytes | None = None) -> bytes:
    data = bytearray(onto if onto is not None else size)
    for start, length, value in spots:
        end = min(size, start + length)
        data[min(start, size) : end] = bytes([value]) * max(0, end - start)
    return bytes(data)


@given(_SIZES, _SPOTS, _SPOTS, st.booleans())
def test_differences_put_on_the_old_give_the_new(
    size: int, before: list[tuple[int, int, int]], changes: list[tuple[int, int, int]], as_array: bool
) -> None:
    old = _written(size, before)
    new = _written(size, changes, old)
    found = list(find_differences(bytearray(new) if as_array else new, old))
    result = bytearray(old)
    for run in found:
        part = new[run.start : run.end]
        assert run.is_zero == (not any(part))
        result[run.start : run.end] = bytes(len(part)) if run.is_zero else part
        blocks = range(run.start, run.end, BLOCK)
        assert run.start % BLOCK == 0
        assert run.end % BLOCK == 0 or run.end == size
        assert all(new[at : at + BLOCK] != old[at : at + BLOCK] for at in blocks), "what is equal is left out"
    assert result == new
    for first, second in pairwise(found):
        assert first.end < second.start or (first.end == second.start and first.is_zero != second.is_zero)


def test_zeroes_over_data_are_told_apart_and_zeroes_over_zeroes_left_out() -> None:
    old = b"a" * BLOCK + bytes(BLOCK) + b"a" * BLOCK
    new = bytes(2 * BLOCK) + b"b" * BLOCK
    assert list(find_differences(new, old)) == [Difference(0, BLOCK, True), Difference(2 * BLOCK, 3 * BLOCK, False)]


def test_neighbours_of_two_kinds_are_two_runs() -> None:
    """A block of which only some bytes are zeroes is data."""
    old = b"a" * 3 * BLOCK
    new = bytes(BLOCK - 1) + b"b" + bytes(2 * BLOCK)
    assert list(find_differences(new, old)) == [Difference(0, BLOCK, False), Difference(BLOCK, 3 * BLOCK, True)]


def test_chunks_of_two_lengths_are_an_error() -> None:
    with pytest.raises(ValueError, match="10 and 9"):
        list(find_differences(bytes(10), bytes(9)))


@given(_SIZES, _SPOTS, _SPOTS)
def test_no_change_can_be_overlooked(
    size: int, before: list[tuple[int, int, int]], changes: list[tuple[int, int, int]]
) -> None:
    old = _written(size, before)
    new = _written(size, changes, old)
    found = list(find_differences(new, old))
    assert is_complete(new, old, found)
    for at in range(len(found)):
        assert not is_complete(new, old, found[:at] + found[at + 1 :])


def test_runs_that_touch_are_one() -> None:
    assert list(joined([])) == []
    assert list(joined([(0, 4), (4, 8), (12, 16), (16, 20), (24, 28)])) == [(0, 8), (12, 20), (24, 28)]


CONTENT = bytes(range(256)) * 256
RUNS = [(BLOCK, 2 * BLOCK), (4 * BLOCK, 5 * BLOCK)]


def test_a_fingerprint_depends_on_place_and_content_of_what_is_defined_only() -> None:
    value = fingerprint(7, RUNS, CONTENT)
    assert value == fingerprint(7, [(BLOCK, BLOCK + 512), (BLOCK + 512, 2 * BLOCK), RUNS[1]], CONTENT)
    assert value == fingerprint(7, RUNS, CONTENT[BLOCK : 5 * BLOCK], BLOCK)
    elsewhere = bytearray(CONTENT)
    elsewhere[3 * BLOCK] ^= 1
    assert value == fingerprint(7, RUNS, elsewhere)
    assert fingerprint(7, [], CONTENT) == 0


@pytest.mark.parametrize("change", ["content", "chunk", "run", "more", "less", "bounds"])
def test_a_fingerprint_differs(change: str) -> None:
    content, runs, chunk = bytearray(CONTENT), list(RUNS), 7
    if change == "content":
        content[2 * BLOCK - 1] ^= 1
    chunk += change == "chunk"
    runs = {
        "run": [RUNS[0], (5 * BLOCK, 6 * BLOCK)],
        "more": [*runs, (8 * BLOCK, 9 * BLOCK)],
        "less": runs[:1],
        "bounds": [(BLOCK, 3 * BLOCK), (3 * BLOCK, 5 * BLOCK)],
    }.get(change, runs)
    assert fingerprint(chunk, runs, content) != fingerprint(7, RUNS, CONTENT)
