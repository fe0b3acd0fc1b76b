"""What every REST request passes: a limit, the audit line, the numbers, and an answer to what nobody expected."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sendense_operator.gateway.rest.errors import error_body, headers_of
from sendense_operator.gateway.rest.rest_metrics import Metrics
from sendense_operator.gateway.rest.user_limits import UserLimits
from sendense_operator.logs import AUDIT, get_logger

log = get_logger(__name__)
audit_log = get_logger(AUDIT)

PREFIX: Final = "/api/"
_STATE: Final = "audit"


@dataclass(slots=True)
class Audit:
    """Who did what: filled while the request is handled, logged when it is answered."""

    operation: str = "unknown"
    user: str = "-"
    uid: str | None = None
    namespace: str | None = None
    target: str | None = None
    """What it was about: a backup, a restore, a VM."""
    counted: bool = False
    """Whether the request counts as one of the user's in flight."""


def audit_of(scope: Scope) -> Audit:
    """Return the request's audit."""
    audit: Audit = scope.setdefault("state", {}).setdefault(_STATE, Audit())
    return audit


class Front:
    """ASGI middleware, the outermost one. `calls`: how many requests may be in flight; `users`: of each user."""

    def __init__(self, app: ASGIApp, metrics: Metrics, calls: int, users: UserLimits) -> None:
        self._app = app
        self._metrics = metrics
        self._free = calls
        self._users = users

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        audit = audit_of(scope)
        try:
            await self._limited(scope, receive, note)
        except Exception:
            log.exception("request failed", operation=audit.operation)
            if status:
                raise  # half an answer is out: the connection has to break
            await _refuse(500, "internal error", "the gateway's log says more")(scope, receive, note)
        finally:
            if audit.counted:
                self._users.leave(audit.user)
            seconds = time.monotonic() - began
            self._metrics.done(audit.operation, status, seconds)
            _tell(audit, scope["method"], status, seconds)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._free <= 0:
            await _refuse(503, "too many requests in flight", "")(scope, receive, send)
            return
        self._free -= 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._free += 1


def _refuse(status: int, error: str, details: str) -> JSONResponse:
    return JSONResponse(error_body(error, details), status, headers_of(status))


def _tell(audit: Audit, method: str, status: int, seconds: float) -> None:
    audit_log.info(
        "request",
        audit=audit.operation,
        method=method,
        user=audit.user,
        uid=audit.uid or None,
        namespace=audit.namespace,
        target=audit.target,
        status=status,
        seconds=round(seconds, 3),
    )
