"""Connections whose other end stops reading: they end, and with them the request that they hold."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from sendense_operator.logs import kv

log = logging.getLogger(__name__)

_NOTHING_WAITS: Final = 1
"""High-water mark in bytes: so that the last of an answer is noticed too, while it waits for the reader."""


def bounded(limit_s: float) -> type[H11Protocol]:
    """A protocol of uvicorn's that drops a connection when what is to be sent isn't taken within `limit_s`.

    Each part of an answer is sent when the one before is taken, and has the time for itself: a slow reader that goes on
    reading gets all of a long answer.
    """

    class Bounded(H11Protocol):
        _dropping: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=_NOTHING_WAITS, low=0)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._keep()
            self._dropping = self.loop.call_later(limit_s, self._drop)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._keep()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._keep()

        def _keep(self) -> None:
            if self._dropping is not None:
                self._dropping.cancel()
                self._dropping = None

        def _drop(self) -> None:
            log.warning(kv(dropped="a connection that does not read", seconds=limit_s))
            # not closed: that would wait until all is read
            self.transport.abort()

    return Bounded
