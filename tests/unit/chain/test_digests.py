import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.chain.digests import Chunks, digest, zero_digest

CHUNK = 16


@given(st.integers(1, 200), st.data())
def test_zeroes_are_what_zeroes_hash_to(virtual_size: int, data: st.DataObject) -> None:
    chunks = Chunks(virtual_size, CHUNK)
    parts = [bytes(virtual_size)[at : at + CHUNK] for at in range(0, virtual_size, CHUNK)]
    expected = b"".join(blake3(part).digest() for part in parts)
    assert (chunks.count, chunks.list_bytes) == (len(parts), len(expected))
    first = data.draw(st.integers(0, chunks.count))
    count = data.draw(st.integers(0, chunks.count - first))
    assert chunks.zeroes(first, count) == expected[first * 32 : (first + count) * 32]


@pytest.mark.parametrize(("first", "count"), [(3, 1), (0, 4), (-1, 1), (2, -1)])
def test_there_are_no_other_chunks(first: int, count: int) -> None:
    with pytest.raises(IndexError):
        Chunks(33, CHUNK).zeroes(first, count)


def test_zeroes_are_hashed_once() -> None:
    assert zero_digest(CHUNK) == digest(bytes(CHUNK))
    assert zero_digest(CHUNK) is zero_digest(CHUNK)
