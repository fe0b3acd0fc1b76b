"""Ranges of chunks."""

from __future__ import annotations

from sendense_operator.answer import DamagedRange
from sendense_operator.chain.digests import Chunks
from sendense_operator.worker.restore.damaged_ranges import bytes_of, describe_damage_left, ranges_of, restored_disk

CHUNKS = Chunks(virtual_size=95, chunk=10)


def test_adjacent_chunks_are_one_range() -> None:
    damaged = bytearray([1, 1, 0, 1, 0, 0, 0, 0, 1, 1])
    assert ranges_of(damaged, CHUNKS) == (
        DamagedRange(offset=0, length=20),
        DamagedRange(offset=30, length=10),
        DamagedRange(offset=80, length=15),
    )
    assert bytes_of(damaged, CHUNKS) == 45
    assert ranges_of(bytearray(10), CHUNKS) == ()
    assert bytes_of(bytearray(10), CHUNKS) == 0
    assert bytes_of(bytearray(), Chunks(0, 10)) == 0


def test_a_result_has_the_first_ranges_and_the_length_of_all() -> None:
    ranges = tuple(DamagedRange(offset=10 * at, length=5) for at in range(6))
    disk = restored_disk(2, 60, 30, ranges)
    assert (disk.index, disk.data_bytes, disk.written_bytes) == (2, 60, 30)
    assert (disk.damaged, disk.damaged_bytes) == (ranges[:4], 30)


def test_the_message_counts() -> None:
    mib = 1 << 20
    one = restored_disk(0, 0, 0, [DamagedRange(offset=0, length=4 * mib)])
    two = restored_disk(3, 0, 0, [DamagedRange(offset=0, length=4 * mib), DamagedRange(offset=8 * mib, length=1)])
    none = restored_disk(1, 0, 0, ())
    assert describe_damage_left([(none, 0)]) == ""
    assert describe_damage_left([(one, 1), (none, 0), (two, 2)]) == (
        "disk 0: 1 range (4 MiB) was damaged and is zeroes; disk 3: 2 ranges (5 MiB) were damaged and are zeroes"
    )
