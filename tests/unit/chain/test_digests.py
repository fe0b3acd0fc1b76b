import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.chain.digests import DigestList, digest, root_of

CHUNK = 16


@given(st.binary(min_size=1, max_size=200), st.randoms())
def test_list_and_root_depend_on_content_alone(content: bytes, random: object) -> None:
    chunks = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]
    digests = DigestList(len(content), CHUNK)
    order = [index for index, chunk in enumerate(chunks) if any(chunk)]
    random.shuffle(order)  # type: ignore[attr-defined]
    for index in order:
        digests.put(index, digest(chunks[index]))
    expected = b"".join(blake3(chunk).digest() for chunk in chunks)
    assert digests.to_bytes() == expected
    assert digests.root == blake3(expected).hexdigest() == root_of(expected)


def test_put_checks() -> None:
    digests = DigestList(33, CHUNK)
    assert digests.count == 3
    with pytest.raises(IndexError):
        digests.put(3, bytes(32))
    with pytest.raises(ValueError, match="digest of 31"):
        digests.put(0, bytes(31))
    with pytest.raises(ValueError, match="no list"):
        root_of(bytes(33))


def test_a_list_that_is_read_again_and_changed() -> None:
    digests = DigestList(33, CHUNK)
    digests.put(2, digest(b"x"))
    again = DigestList.from_bytes(digests.to_bytes(), 33, CHUNK)
    assert again.root == digests.root
    assert again.differences(digests) == ()
    again.put_zero(2)
    assert again.differences(digests) == (2,)
    assert again.get(2) != digests.get(2) == digest(b"x")
    assert again.root == DigestList(33, CHUNK).root
    with pytest.raises(ValueError, match="96 expected"):
        DigestList.from_bytes(digests.to_bytes()[:-1], 33, CHUNK)
