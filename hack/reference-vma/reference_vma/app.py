"""The ASGI application: appliances by path prefix, each with the contract, the control API and a log of its calls."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import Body, FastAPI, HTTPException
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reference_vma.appliance import Appliance
from reference_vma.config import Settings
from reference_vma.control import control_router
from reference_vma.log import CallLog, safe_query
from reference_vma.server import Contract, plain_error

_CONTROL: Final = "/_control"
_PREFIX = re.compile(r"/appliance/([a-z0-9][a-z0-9-]{0,127})(?=/)")
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")


class LoggedCalls:
    """Writes each call to the log, but for the control API's own."""

    def __init__(self, app: ASGIApp, log: CallLog) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        if scope["type"] != "http" or scope["path"].startswith(_CONTROL):
            await self._app(scope, receive, send)
            return
        status: int | None = None
        logged = False
        note: dict[str, Any] = {}

        def log_now() -> None:
            nonlocal logged
            if not logged:
                logged = True
                path = scope.get("raw_path", b"").decode("ascii", "replace") or scope["path"]
                query = safe_query(scope["query_string"].decode("ascii", "replace"))
                self._log.add("received", method=scope["method"], path=path, query=query, status=status, **note)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                log_now()
            await send(message)

        inner = {**scope, "reference_vma.note": note, "reference_vma.log_now": log_now}
        try:
            await self._app(inner, receive, watched)
        finally:
            log_now()


async def _as_the_appliance(request: Request, error: Exception) -> Response:
    """Errors of the router: JSON for the control API, plain text for the contract."""
    status = error.status_code if isinstance(error, StarletteHTTPException) else 500
    detail = error.detail if isinstance(error, StarletteHTTPException) else "internal error"
    if request.url.path.startswith(_CONTROL):
        return JSONResponse({"detail": detail}, status)
    return plain_error(status, {404: "404 page not found", 405: "method not allowed"}.get(status, str(detail)))


def appliance_app(appliance: Appliance) -> FastAPI:
    """Return one appliance without its log."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    Contract(appliance).install(app)
    app.include_router(control_router(appliance))
    app.add_exception_handler(StarletteHTTPException, _as_the_appliance)
    return app


class Service:
    """The first appliance at `/`, more of them, if asked for, at `/appliance/ID`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.appliances: dict[str, Appliance] = {}
        self._apps: dict[str, ASGIApp] = {}
        self._add("", settings)

    def _add(self, name: str, settings: Settings) -> Appliance:
        appliance = Appliance(settings)
        app = appliance_app(appliance)
        if not name:
            self._install(app)
            app.router.lifespan_context = self._lifespan
        self.appliances[name], self._apps[name] = appliance, LoggedCalls(app, appliance.log)
        return appliance

    @asynccontextmanager
    async def _lifespan(self, _app: Any) -> AsyncIterator[None]:
        yield
        self.close()

    def close(self) -> None:
        """End every client, as a stop of the appliance does."""
        for appliance in list(self.appliances.values()):
            appliance.jobs.end_all()

    def _install(self, app: FastAPI) -> None:
        @app.put("/_control/appliances/{name}")
        def put_appliance(name: str, body: Annotated[dict[str, Any] | None, Body()] = None) -> dict[str, Any]:
            if not _ID.fullmatch(name):
                raise HTTPException(422, "an id is of lower-case letters, digits and -")
            known = self.appliances.get(name)
            try:
                base = known.settings if known else self._settings_of(name)
                settings = base.changed(body or {})
            except ValueError as error:
                raise HTTPException(422, str(error)) from error
            if known:
                known.settings = settings
            else:
                self._add(name, settings)
            return {"id": name, "path": f"/appliance/{name}", **settings.shown}

        @app.get("/_control/appliances")
        def list_appliances() -> list[str]:
            return sorted(name for name in self.appliances if name)

        @app.delete("/_control/appliances/{name}", status_code=204)
        def remove_appliance(name: str) -> None:
            if not name or name not in self.appliances:
                raise HTTPException(404, "no such appliance")
            self._apps.pop(name)
            appliance = self.appliances.pop(name)
            appliance.jobs.end_all()
            shutil.rmtree(appliance.settings.disks, ignore_errors=True)

    def _settings_of(self, name: str) -> Settings:
        disks = self._settings.disks / f"@{name}"
        return replace(self._settings, disks=disks, state=disks / ".state", scratch=disks / ".scratch")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a call to its appliance."""
        name = ""
        if scope["type"] == "http" and (found := _PREFIX.match(scope["path"])):
            name, prefix = found.group(1), found.group(0)
            raw = scope.get("raw_path", b"").removeprefix(prefix.encode())
            scope = {**scope, "path": scope["path"].removeprefix(prefix), "raw_path": raw}
        app = self._apps.get(name)
        if app is None:
            await plain_error(404, "404 page not found")(scope, receive, send)
            return
        await app(scope, receive, send)
