"""Much in little text: numbers of fixed widths, zlib, base85. The way back is bounded, whatever was packed."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence

Widths = Mapping[str, int]
"""Bytes for the number of each name, in their order."""


def to_text(data: bytes) -> str:
    """Compress `data` into ASCII: at most 5/4 of it and a few characters."""
    return base64.b85encode(zlib.compress(data, 9)).decode()


def from_text(text: str, limit: int) -> bytes:
    """Inverse of `to_text`. Raises ValueError for anything else, and for more than `limit` bytes."""
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(base64.b85decode(text), limit)
    except zlib.error as error:
        raise ValueError(f"not compressed: {error}") from error
    if not unpacking.eof:
        raise ValueError(f"cut short, or more than {limit} bytes")
    return data


def pack_numbers(rows: Sequence[Mapping[str, int]], widths: Widths) -> bytes:
    """Return the numbers of all rows; one that is too large for its width becomes the largest that fits."""
    return b"".join(
        min(row[name], (1 << 8 * width) - 1).to_bytes(width, "big") for row in rows for name, width in widths.items()
    )


def unpack_numbers(data: bytes, widths: Widths) -> dict[str, list[int]]:
    """By name, the number of each row. Raises ValueError for half a row."""
    row = sum(widths.values())
    if len(data) % row:
        raise ValueError(f"{len(data)} bytes are not rows of {row}")
    columns, at = dict[str, list[int]](), 0
    for name, width in widths.items():
        columns[name] = [int.from_bytes(data[start : start + width], "big") for start in range(at, len(data), row)]
        at += width
    return columns
