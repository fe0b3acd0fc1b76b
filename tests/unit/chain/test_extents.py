import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.chain.extents import (
    UNDEFINED,
    Extent,
    LayerMap,
    MapError,
    chunk_count,
    chunk_length,
    fold,
    marked,
    parse_line,
    runs,
    worst_case_bytes,
)

CHUNK = 8


def line(start: int, length: int, depth: int, present: bool, zero: bool) -> str:
    return json.dumps(
        {"start": start, "length": length, "depth": depth, "present": present, "zero": zero, "data": not zero}
    )


def test_the_format_of_qemu_img() -> None:
    text = (
        '[{ "start": 0, "length": 8, "depth": 0, "present": true, "zero": false, "data": true, "offset": 327680},\n'
        '{ "start": 8, "length": 16, "depth": 0, "present": true, "zero": true, "data": false},\n'
        '{ "start": 24, "length": 5, "depth": 0, "present": false, "zero": true, "data": false}]\n'
    )
    layer = fold(text.splitlines(), 29, CHUNK)
    assert (layer.coverage, layer.guest_bytes, layer.extents) == (24, 8, 3)
    assert list(layer.data_chunks) == [1, 0, 0, 0]
    assert list(layer.own_chunks) == [1, 1, 1, 0]


def test_layers_below_are_read_but_not_counted() -> None:
    layer = fold([line(0, 8, 1, True, False), line(8, 8, 0, True, True)], 16, CHUNK)
    assert (layer.coverage, layer.guest_bytes) == (8, 0)
    assert list(marked(layer.data_chunks)) == [0]
    assert list(marked(layer.own_chunks)) == [1]


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 63), st.booleans()), min_size=1, max_size=20))
def test_the_uppermost_layer_that_defines_a_chunk(runs: list[tuple[int, int, bool]]) -> None:
    virtual_size = sum(run[0] for run in runs)
    depths = [depth if present else UNDEFINED for length, depth, present in runs for _ in range(length)]
    layer, start = LayerMap(virtual_size, CHUNK), 0
    for length, depth, present in runs:
        layer.add(Extent(start, length, depth, present, False, True))
        start += length
    least = [min(depths[at : at + CHUNK]) for at in range(0, virtual_size, CHUNK)]
    assert list(layer.close().defined_by) == least


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [line(0, 8, 0, True, False)],
        [line(8, 8, 0, True, False)],
        [line(0, 8, 0, True, False), line(0, 16, 0, True, False)],
        [line(0, 17, 0, True, False)],
        [line(0, 0, 0, True, False), line(0, 16, 0, True, False)],
    ],
)
def test_gaps_and_overlaps_are_refused(lines: list[str]) -> None:
    with pytest.raises(MapError):
        fold(lines, 16, CHUNK)


@pytest.mark.parametrize("text", ["x", "{}", "[1]", '{"start": "a"}'])
def test_what_is_no_extent(text: str) -> None:
    with pytest.raises(MapError):
        parse_line(text)


@pytest.mark.parametrize("text", ["", "[", "]", "[]", " \n"])
def test_lines_without_an_extent(text: str) -> None:
    assert parse_line(text) is None


kinds = st.tuples(st.integers(1, 30), st.integers(0, 2), st.booleans(), st.booleans())


@given(st.lists(kinds, min_size=1, max_size=20))
def test_sums_agree_with_counting_bytes(runs: list[tuple[int, int, bool, bool]]) -> None:
    virtual_size = sum(run[0] for run in runs)
    layer, own, data, start = LayerMap(virtual_size, CHUNK), set[int](), set[int](), 0
    guest = 0
    for length, depth, present, zero in runs:
        layer.add(Extent(start, length, depth, present, zero, not zero))
        touched = range(start, start + length)
        if depth == 0 and present:
            own.update(touched)
            guest += 0 if zero else length
        if not zero:
            data.update(touched)
        start += length
    layer.close()
    assert layer.coverage == len(own)
    assert layer.guest_bytes == guest
    assert set(marked(layer.own_chunks)) == {at // CHUNK for at in own}
    assert set(marked(layer.data_chunks)) == {at // CHUNK for at in data}


@given(st.integers(1, 10_000), st.integers(1, 100))
def test_chunks_cover_the_disk(virtual_size: int, chunk: int) -> None:
    assert (
        sum(chunk_length(index, virtual_size, chunk) for index in range(chunk_count(virtual_size, chunk)))
        == virtual_size
    )


def test_worst_case_is_little_more_than_the_disk() -> None:
    tib = 1 << 40
    assert tib < worst_case_bytes(tib) < tib * 1.001
    assert worst_case_bytes(1) < 4 << 20


@given(st.lists(st.booleans(), max_size=60))
def test_runs_of_marked_chunks(marks: list[bool]) -> None:
    found = list(runs(bytearray(marks)))
    assert [index for first, count in found for index in range(first, first + count)] == [
        index for index, mark in enumerate(marks) if mark
    ]
    assert all(first + count < after for (first, count), (after, _) in pairwise(found))


def _outlined(extents: list[tuple[int, int, int, bool]], layers: int = 1) -> LayerMap:
    """Return the map of (start, length, depth, present) in blocks of 512 bytes."""
    lines = [line(start * 512, length * 512, depth, present, False) for start, length, depth, present in extents]
    found = LayerMap(sum(length for _, length, _, _ in extents) * 512, 4 << 20, layers)
    for text in lines:
        extent = parse_line(text)
        assert extent is not None
        found.add(extent)
    return found.close()


def test_layers_that_count_as_one() -> None:
    """What they define is what one layer with all of it would define, however it is cut."""
    apart = _outlined([(0, 8, 0, False), (8, 8, 1, True), (16, 8, 0, True), (24, 8, 2, True), (32, 9, 1, True)], 2)
    one = _outlined([(0, 8, 0, False), (8, 16, 0, True), (24, 8, 1, True), (32, 9, 0, True)])
    assert (apart.coverage, apart.guest_bytes) == (one.coverage, one.guest_bytes) == (25 * 512, 25 * 512)
    assert (apart.own_chunks, apart.outline) == (one.own_chunks, one.outline)


def test_an_outline_is_of_subclusters() -> None:
    """A layer with smaller ones defines all of ours of which it defines a part."""
    parts = _outlined([(0, 3, 0, False), (3, 1, 0, True), (4, 9, 0, False), (13, 3, 0, True), (16, 8, 0, False)])
    whole = _outlined([(0, 16, 0, True), (16, 8, 0, False)])
    assert parts.outline == whole.outline


@pytest.mark.parametrize(
    "other",
    [
        [(0, 8, 0, True), (8, 8, 0, False), (16, 8, 0, True)],
        [(0, 16, 0, True), (16, 8, 0, False)],
        [(0, 8, 0, False), (8, 16, 0, True)],
        [(0, 24, 0, True)],
        [(0, 24, 0, False)],
    ],
)
def test_outlines_that_differ(other: list[tuple[int, int, int, bool]]) -> None:
    this = _outlined([(0, 8, 0, False), (8, 8, 0, True), (16, 8, 0, False)])
    assert this.outline == this.outline
    assert this.outline != _outlined(other).outline
