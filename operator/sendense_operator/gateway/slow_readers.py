"""Connections within bounds: of those that send no request, or don't take its answer, none holds a place for long."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from sendense_operator.logs import get_logger

log = get_logger(__name__)

_NOTHING_WAITS: Final = 1
"""High-water mark in bytes: so that the last of an answer is noticed too, while it waits for the reader."""


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """Bounds of a listener's connections."""

    send_seconds: float = 30.0
    """How long a part of an answer may wait for its reader."""
    header_seconds: float = 10.0
    """How long a request's headers may take, from the connection or from their first byte on a kept one."""
    waiting: int = 256
    """Connections whose headers are not complete. One more ends the oldest of them, not itself: callers of ours send
    their headers at once, so idle connections never keep them out."""
    open: int = 2048
    """All connections."""


def bounded(bounds: ConnectionBounds) -> type[H11Protocol]:
    """Return a protocol of uvicorn's for one listener, within bounds.

    Each part of an answer is sent when the one before is taken, and has the time for itself: a slow reader that goes on
    reading gets all of a long answer.
    """
    waiting: dict[Bounded, None] = {}
    everyone: set[Bounded] = set()

    class Bounded(H11Protocol):
        _dropping: asyncio.TimerHandle | None = None
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=_NOTHING_WAITS, low=0)
            everyone.add(self)
            self._await_headers()
            if len(waiting) > bounds.waiting or len(everyone) > bounds.open:
                next(iter(waiting))._drop("too many connections")

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._have_headers()
            elif self._late is None and self.conn.trailing_data[0]:
                self._await_headers()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._keep()
            self._dropping = self.loop.call_later(bounds.send_seconds, self._drop, "does not read")

        def resume_writing(self) -> None:
            super().resume_writing()
            self._keep()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            everyone.discard(self)
            self._keep()
            self._have_headers()

        def _await_headers(self) -> None:
            waiting[self] = None
            self._late = self.loop.call_later(bounds.header_seconds, self._drop, "sends no request")

        def _have_headers(self) -> None:
            waiting.pop(self, None)
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _keep(self) -> None:
            if self._dropping is not None:
                self._dropping.cancel()
                self._dropping = None

        def _drop(self, why: str) -> None:
            # Whoever reaches the port can cause these: they must not fill the log.
            log.debug("connection dropped", reason=why)
            self._have_headers()
            # not closed: that would wait until all is read
            self.transport.abort()

    return Bounded
