"""What of a chunk a merged layer has to hold."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tests.support.chains import layer

from sendense_operator.chain.merging import (
    Run,
    Status,
    defined_runs,
    estimate_merge,
    join_contexts,
    read_groups,
)

KIB = 1 << 10


def test_both_answers_are_cut_where_either_changes() -> None:
    zeroes, depths = [100, 0, 100, 3, 100, 2], [50, 0, 200, 1, 50, 2]
    assert list(join_contexts(1000, 1300, zeroes, depths)) == [
        Status(1000, 1050, 0, False),
        Status(1050, 1100, 1, False),
        Status(1100, 1200, 1, True),
        Status(1200, 1250, 1, True),
        Status(1250, 1300, 2, True),
    ]


def test_an_answer_that_ends_early() -> None:
    """What follows has to be asked for again."""
    assert list(join_contexts(0, 300, [300, 0], [50, 1, 50, 2])) == [Status(0, 50, 1, False), Status(50, 100, 2, False)]
    assert list(join_contexts(0, 300, [], [300, 1])) == []


def test_an_answer_that_goes_further() -> None:
    assert list(join_contexts(0, 100, [900, 0], [50, 1, 800, 2])) == [
        Status(0, 50, 1, False),
        Status(50, 100, 2, False),
    ]


_EXTENTS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), max_size=8)


@given(_EXTENTS, _EXTENTS, st.integers(1, 60))
def test_each_byte_has_the_values_of_both_answers(
    zeroes: list[tuple[int, int]], depths: list[tuple[int, int]], length: int
) -> None:
    flat = [value for count, value in zeroes for _ in range(count)]
    deep = [value for count, value in depths for _ in range(count)]
    found = list(
        join_contexts(7, 7 + length, [x for pair in zeroes for x in pair], [x for pair in depths for x in pair])
    )
    assert all(first.end == second.start for first, second in pairwise(found))
    bytes_of = [(status.depth, status.is_zero) for status in found for _ in range(status.start, status.end)]
    expected = [(depth, bool(flags & 2)) for flags, depth in zip(flat, deep, strict=False)]
    assert bytes_of == expected[:length]


def test_runs_are_what_the_upper_layers_define() -> None:
    statuses = [
        Status(0, 10, 0, True),
        Status(10, 20, 1, False),
        Status(20, 30, 2, False),
        Status(30, 40, 3, False),
        Status(40, 50, 2, True),
        Status(50, 60, 1, True),
        Status(60, 70, 1, False),
    ]
    assert list(defined_runs(statuses, 2)) == [Run(10, 30, False), Run(40, 60, True), Run(60, 70, False)]
    assert list(defined_runs(statuses, 1)) == [Run(10, 20, False), Run(50, 60, True), Run(60, 70, False)]
    assert list(defined_runs([], 1)) == []


def test_runs_close_to_each_other_are_read_at_once() -> None:
    near, far = 64 * KIB, 64 * KIB + 1
    first = Run(0, 10, False)
    second = Run(10 + near, 100_000, False)
    zeroes = Run(100_000, 100_010, True)
    third = Run(100_000 + far, 300_000, False)
    assert list(read_groups([first, second, zeroes, third])) == [[first, second], [third]]
    assert list(read_groups([zeroes])) == []


def test_the_estimate_is_that_of_the_layers_that_become_one() -> None:
    stack = [layer(1).model_copy(update={"stored_bytes": stored}) for stored in (1, 10, 100, 1000)]
    assert [estimate_merge(stack, removed) for removed in (1, 2, 3)] == [11, 111, 1111]
