"""Leaving without losing a call."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Drain:
    """Set once, at SIGTERM: from then on the gateway is not ready."""

    def __init__(self) -> None:
        self._draining = False

    @property
    def draining(self) -> bool:
        """Whether `begin` was called."""
        return self._draining

    def begin(self) -> None:
        """Start draining."""
        self._draining = True


class CloseConnections:
    """ASGI middleware: `Connection: close` on every answer, not just while draining.

    A call sent on an idle connection that this replica closes in that moment would be lost, and the VMA does not
    send it again. Calls are rare, so a new connection for each costs nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""

        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_closing)
