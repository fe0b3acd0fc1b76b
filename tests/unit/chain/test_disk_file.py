import struct

import pytest
from tests.support.chains import SIZE, head

from sendense_operator.chain.disk_file import DiskFile

BACKING = "full-20251005-120001.qcow2"


def changed(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize(
    ("data", "is_ours", "backing", "is_opaque"),
    [
        (head(SIZE), True, None, False),
        (head(SIZE, BACKING), True, BACKING, False),
        (head(SIZE, "json:{}"), True, "json:{}", False),
        # refused as an image, and still it says what it depends on
        (changed(head(SIZE, BACKING), 4, struct.pack(">I", 2)), False, BACKING, False),
        (changed(head(SIZE, BACKING), 72, struct.pack(">Q", 2)), False, BACKING, False),
        (changed(head(SIZE, BACKING), 8, struct.pack(">Q", 1 << 20)), False, None, True),
        (head(SIZE, BACKING)[:20], False, None, True),
        (head(SIZE, BACKING)[:380], False, None, True),
        (b"", False, None, False),
        (b"\0" * 4096, False, None, False),
        (b"QFI", False, None, False),
    ],
)
def test_what_a_head_says(data: bytes, is_ours: bool, backing: str | None, is_opaque: bool) -> None:
    file = DiskFile.of(data, 1 << 20, 4096)
    assert (file.header is not None, file.backing, file.is_opaque) == (is_ours, backing, is_opaque)
    assert bool(file.flaw) is not is_ours
    assert (file.length, file.stored_bytes) == (1 << 20, 4096)
