"""Reading untrusted answers over HTTP: so many bytes and no more, as they came over the wire."""

from __future__ import annotations

from typing import Final

import httpx

HEADERS: Final = {"Accept-Encoding": "identity"}
"""To be sent with each request: a compressed answer is refused, since a few bytes of it become gigabytes."""
_IDENTITY: Final = frozenset({"", "identity"})


class EncodedError(ValueError):
    """The answer is compressed, which was not asked for."""


async def read_at_most(response: httpx.Response, limit: int) -> tuple[bytes, bool]:
    """Return the first `limit` bytes of a streamed answer, and whether that is all of it.

    Raises EncodedError for a compressed one, and httpx.HTTPError. Time is the caller's to limit.
    """
    if response.headers.get("Content-Encoding", "").strip().lower() not in _IDENTITY:
        raise EncodedError("the answer is compressed, which was not requested")
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > limit:
            return bytes(body[:limit]), False
    return bytes(body), True


def count_values(json: bytes) -> int:
    """At least as many as there are values in a JSON text: what decoding it costs, before it is decoded."""
    return json.count(b",") + json.count(b"[") + json.count(b"{") + 1
