"""Check that an NBD server answers at an address. A connection alone proves nothing: some networks accept any."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

_MAGIC: Final = b"NBDMAGIC"
_TRY_SECONDS: Final = 3.0
_PAUSE: Final = 0.1


async def greets(host: str, port: int) -> bool:
    """Return whether the address sends an NBD greeting within three seconds."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(_TRY_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            return await reader.readexactly(len(_MAGIC)) == _MAGIC
    except (OSError, EOFError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_TRY_SECONDS):
                    await writer.wait_closed()


async def wait_until_greets(host: str, port: int, limit: float) -> bool:
    """Return whether the address sends an NBD greeting within `limit` seconds; tries repeatedly."""
    deadline = time.monotonic() + limit
    while not await greets(host, port):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_PAUSE)
    return True
