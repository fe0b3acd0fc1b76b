"""Stream-optimised images as bytes; that QEMU reads them is tested in the data plane."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.chain.vmdk import (
    GRAIN,
    HEAD,
    SECTOR,
    PackedGrain,
    StreamBuilder,
    StreamTooLongError,
    most_bytes,
    pack_grains,
)

MIB = 1 << 20


def built(size: int, grains: list[PackedGrain]) -> bytes:
    builder = StreamBuilder(size, "db-b1-disk-0.vmdk", 7)
    return builder.begin() + builder.add(grains) + builder.end()


def unpacked(image: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each grain as a reader finds it: footer, directory, tables."""
    footer = image[-2 * SECTOR : -SECTOR]
    assert footer[:4] == image[:4] == b"KDMV"
    (capacity,) = struct.unpack_from("<Q", footer, 12)
    (directory,) = struct.unpack_from("<Q", footer, 56)
    count = -(-capacity // (128 * 512))
    for at, table in enumerate(struct.unpack_from(f"<{count}I", image, directory * SECTOR)):
        if not table:
            continue
        for entry, sector in enumerate(struct.unpack_from("<512I", image, table * SECTOR)):
            if sector:
                lba, length = struct.unpack_from("<QI", image, sector * SECTOR)
                number = at * 512 + entry
                assert lba == number * (GRAIN // SECTOR)
                start = sector * SECTOR + 12
                yield number, zlib.decompress(image[start : start + length])


@given(st.sets(st.integers(0, 1200), max_size=20), st.integers(1, 127))
def test_a_reader_finds_each_grain(numbers: set[int], last_sectors: int) -> None:
    size = 1201 * GRAIN - (128 - last_sectors) * SECTOR
    grains = [grain for number in sorted(numbers) for grain in pack_grains(number, bytes([number % 255 + 1]) * GRAIN)]
    image = built(size, grains)
    assert len(image) % SECTOR == 0
    found = dict(unpacked(image))
    assert found == {number: bytes([number % 255 + 1]) * GRAIN for number in numbers}


def test_zeroes_are_left_out_and_a_short_end_is_padded() -> None:
    data = bytes(GRAIN) + b"x" * GRAIN + bytes(GRAIN) + b"y" * 512
    packed = list(pack_grains(8, data))
    assert [grain.number for grain in packed] == [9, 11]
    found = dict(unpacked(built(11 * GRAIN + 512, packed)))
    assert found == {9: b"x" * GRAIN, 11: (b"y" * 512).ljust(GRAIN, b"\0")}


@pytest.mark.parametrize("size", [GRAIN, 32 * MIB, 100 * MIB + 512])
def test_noise_fits_into_what_was_promised(size: int) -> None:
    image = built(size, list(pack_grains(0, os.urandom(size))))
    assert len(image) <= most_bytes(size, size, -(-size // (4 * MIB))) <= size * 1.02 + 3 * HEAD


def test_a_grain_in_the_wrong_place() -> None:
    builder = StreamBuilder(4 * GRAIN, "a", 0)
    (grain,) = pack_grains(2, b"x")
    builder.add([grain])
    with pytest.raises(ValueError, match="grain 2 after grain 2"):
        builder.add([grain])
    (beyond,) = pack_grains(4, b"x")
    with pytest.raises(ValueError, match="grain 4"):
        builder.add([beyond])


@pytest.mark.parametrize("size", [0, 513, -512])
def test_a_disk_of_no_whole_sectors(size: int) -> None:
    with pytest.raises(ValueError, match="no whole sectors"):
        StreamBuilder(size, "a", 0)


def test_tables_have_32_bit_sector_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sendense_operator.chain.vmdk.MOST_BYTES", HEAD + MIB)
    builder = StreamBuilder(64 * GRAIN, "a", 0)
    with pytest.raises(StreamTooLongError):
        for number in range(64):
            builder.add(list(pack_grains(number, os.urandom(GRAIN))))


def test_the_head_depends_on_nothing_else() -> None:
    builder = StreamBuilder(GRAIN, "a.vmdk", 0x7FFFFFFF)
    head = builder.begin()
    builder.add(list(pack_grains(0, b"x")))
    assert head == StreamBuilder(GRAIN, "a.vmdk", 0x7FFFFFFF).begin()
    assert len(head) == HEAD
    assert b'createType="streamOptimized"' in head
    assert b'RW 128 SPARSE "a.vmdk"' in head
    assert b"CID=7fffffff\nparentCID=ffffffff" in head
