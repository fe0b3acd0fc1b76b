import os
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.chain.digests import Chunks, digest
from sendense_operator.worker.storage import digest_file
from sendense_operator.worker.storage.digest_file import DigestFile

CHUNK = 16


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_file, "PAGE", 3)


@given(st.binary(min_size=1, max_size=200), st.randoms())
def test_list_and_root_depend_on_content_alone(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, random: object
) -> None:
    path = tmp_path_factory.mktemp("list") / "x.digests"
    parts = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]
    order = [index for index, part in enumerate(parts) if any(part)]
    random.shuffle(order)  # type: ignore[attr-defined]
    expected = b"".join(blake3(part).digest() for part in parts)
    with DigestFile.create(path, Chunks(len(content), CHUNK)) as digests:
        digests.fill_zeroes()
        for index in order:
            digests.put(index, digest(parts[index]))
        assert digests.root() == blake3(expected).hexdigest()
        assert [digests.get(index) for index in range(len(parts))] == [digest(part) for part in parts]
    assert path.read_bytes() == expected


def test_a_list_is_copied_and_changed(tmp_path: Path) -> None:
    chunks = Chunks(16 * 10 + 1, CHUNK)
    with DigestFile.create(tmp_path / "below", chunks) as below:
        below.fill_zeroes()
        empty = below.root()
        for index in range(chunks.count):
            below.put(index, digest(bytes([index])))
    with DigestFile.open(tmp_path / "below", chunks) as below:
        with DigestFile.create(tmp_path / "own", chunks) as own:
            assert own.copy(below) == own.root() == below.root()
            own.put_zeroes(2, 5)
            assert own.get(1) == below.get(1)
            assert own.get(6) == digest(bytes(CHUNK))
            assert own.get(7) == below.get(7)
            own.put_zeroes(0, chunks.count)
            assert own.root() == empty
        with pytest.raises(OSError, match="Bad file descriptor"):
            below.put(0, bytes(32))  # only read


def test_only_what_fits_is_put(tmp_path: Path) -> None:
    with DigestFile.create(tmp_path / "x", Chunks(33, CHUNK)) as digests:
        with pytest.raises(IndexError):
            digests.put(3, bytes(32))
        with pytest.raises(ValueError, match="digest has 31 bytes"):
            digests.put(0, bytes(31))
    (tmp_path / "x").write_bytes(bytes(95))
    with pytest.raises(ValueError, match="instead of 96"):
        DigestFile.open(tmp_path / "x", Chunks(33, CHUNK))


def test_a_planted_link_is_replaced_and_a_reader_that_is_late_writes_nowhere(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"kept")
    (tmp_path / "x").symlink_to(foreign)
    digests = DigestFile.create(tmp_path / "x", Chunks(16, CHUNK))
    digests.close()
    digests.close()
    descriptor = os.open(foreign, os.O_RDWR)  # very likely the number that was closed
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            digests.put(0, bytes(32))
    finally:
        os.close(descriptor)
    assert foreign.read_bytes() == b"kept"


def test_a_list_that_becomes_shorter_says_nothing_about_its_content(tmp_path: Path) -> None:
    with DigestFile.create(tmp_path / "x", Chunks(64, CHUNK)) as digests:
        digests.fill_zeroes()
    with DigestFile.open(tmp_path / "x", Chunks(64, CHUNK)) as digests:
        os.truncate(tmp_path / "x", 40)
        with pytest.raises(OSError, match="shorter"):
            digests.root()
