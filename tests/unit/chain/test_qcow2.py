import struct

import pytest

from sendense_operator.chain.qcow2 import HeaderError, check_header, parse

SIZE = 1000001536


def image(
    *,
    version: int = 3,
    virtual_size: int = SIZE,
    features: int = 0x10,
    backing: bytes = b"",
    backing_format: bytes = b"qcow2",
    bits: int = 17,
    crypt: int = 0,
    patch: tuple[int, bytes] = (0, b""),
) -> bytes:
    offset = 376 if backing else 0
    head = struct.pack(">IIQIIQI", 0x514649FB, version, offset, len(backing), bits, virtual_size, crypt)
    cluster = 1 << 17
    head += struct.pack(">IQQIIQ", -(-virtual_size // (cluster // 16 * cluster)), 3 * cluster, cluster, 1, 0, 0)
    head += struct.pack(">Q", features)
    head = head.ljust(96, b"\0") + struct.pack(">II", 4, 104)
    if backing and backing_format:
        head += struct.pack(">II", 0xE2792ACA, len(backing_format)) + backing_format
    data = bytearray((head.ljust(376, b"\0") + backing).ljust(4096, b"\0"))
    data[patch[0] : patch[0] + len(patch[1])] = patch[1]
    return bytes(data)


def test_a_full_layer() -> None:
    header = parse(image())
    assert (header.virtual_size, header.cluster_size, header.backing) == (SIZE, 128 << 10, None)
    check_header(header, SIZE)


def test_an_overlay() -> None:
    header = parse(image(backing=b"full-20251005-120000.qcow2"))
    check_header(header, SIZE, "full-20251005-120000.qcow2")
    for other in (None, "full-20251005-120001.qcow2"):
        with pytest.raises(HeaderError, match="backing name"):
            check_header(header, SIZE, other)


@pytest.mark.parametrize("backing_format", [b"", b"raw"])
def test_an_overlay_whose_backing_file_qemu_would_read_otherwise(backing_format: bytes) -> None:
    header = parse(image(backing=b"full.qcow2", backing_format=backing_format))
    with pytest.raises(HeaderError, match="backing format"):
        check_header(header, SIZE, "full.qcow2")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "too short for a QCOW2 header"),
        (b"\0" * 4096, "not a QCOW2"),
        (image(version=2), "version 3"),
        (image(features=0x14), "features"),
        (image(features=1 << 10), "features"),
        (image(features=0x12), "corrupt"),
        (image(crypt=1), "encryption"),
        (image(bits=40), "cluster size"),
        (image(backing=b"x" * 1024), "backing name of"),
        (image(backing=b"y")[:376], "backing name of"),
        (image(patch=(36, struct.pack(">I", 0))), "L1 table of 0 entries"),
        (image(patch=(36, struct.pack(">I", 1 << 23))), "L1 table of 8388608 entries"),
        (image(patch=(40, struct.pack(">Q", 512))), "offset 512 of the L1 table"),
        (image(patch=(40, struct.pack(">Q", 1 << 63))), "of the L1 table"),
        (image(patch=(48, struct.pack(">Q", 512))), "offset 512 of the refcount table"),
        (image(patch=(56, struct.pack(">I", 0))), "refcount table of 0"),
        (image(patch=(56, struct.pack(">I", 1 << 16))), "refcount table of 65536"),
        (image(patch=(60, struct.pack(">I", 1))), "1 internal snapshots"),
        (image(patch=(64, struct.pack(">Q", 1 << 20))), "internal snapshots"),
        (image(patch=(96, struct.pack(">I", 7))), "refcounts of"),
        (image(patch=(100, struct.pack(">I", 96))), "header length of 96 bytes"),
        (image(patch=(100, struct.pack(">I", 1 << 20))), "header length of 1048576 bytes"),
        (image(patch=(100, struct.pack(">IB", 112, 1))), "compression type 1"),
    ],
)
def test_what_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(HeaderError, match=why):
        parse(data)


def test_another_size() -> None:
    with pytest.raises(HeaderError, match="instead of"):
        check_header(parse(image()), SIZE + 512)
