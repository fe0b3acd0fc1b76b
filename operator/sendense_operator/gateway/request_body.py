"""Reading a request's body within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

_DISCARD: Final = 1 << 20


class BodyTooLargeError(Exception):
    """More than was allowed."""


async def read_body(chunks: AsyncIterator[bytes], limit: int, seconds: float) -> bytes:
    """Return the whole body of at most `limit` bytes. Raises BodyTooLargeError, and TimeoutError after `seconds`.

    A body that is too large is read on for a while: closing the connection on a caller that still sends would
    reset it, and the caller would not see the answer.
    """
    body = bytearray()
    received = 0
    async with asyncio.timeout(seconds):
        async for chunk in chunks:
            received += len(chunk)
            if received > _DISCARD:
                break
            body += chunk[: limit + 1 - len(body)]
    if received > limit:
        raise BodyTooLargeError(f"body: larger than {limit} bytes")
    return bytes(body)
