"""The contract: what the appliance's own server answers, plain-text errors included."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from reference_vma.appliance import Appliance
from reference_vma.faults import Fault
from reference_vma.log import without_credentials
from reference_vma.targets import parse_targets
from reference_vma.vcenter import VCenterError, cbt_enabled

_REQUIRED: Final = (
    "job_id",
    "vm_name",
    "vm_path",
    "vcenter_host",
    "vcenter_user",
    "vcenter_password",
    "nbd_targets",
    "backup_type",
)
_TYPES: Final = ("full", "incremental")
_JOB_PREFIX: Final = "backup-"
_JOB_ID_LIMIT: Final = 244
"""Bytes: the job's log file is called `vma-ID.log` or so, and a file name has 255."""
_GARBAGE: Final = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_POLL_SECONDS: Final = 0.2

Handler = Callable[[Request], Awaitable[Response]]


class ContractError(Exception):
    """A plain-text answer that is no success."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def plain_error(status: int, text: str) -> Response:
    """As Go's http.Error writes it, newline included."""
    return PlainTextResponse(text + "\n", status, {"X-Content-Type-Options": "nosniff"})


def check_start(body: dict[str, Any]) -> dict[str, str]:
    """Return the fields of a start call. Raises ContractError."""
    for name in (*_REQUIRED, "previous_change_id"):
        if not isinstance(body.get(name, ""), str):
            raise ContractError(400, f"Invalid request: json: cannot unmarshal into field {name} of type string")
    values = {name: body.get(name, "") for name in (*_REQUIRED, "previous_change_id")}
    missing = [name for name in _REQUIRED if not values[name]]
    if missing:
        raise ContractError(400, f"Validation failed: {missing[0]} is required")
    if values["backup_type"] not in _TYPES:
        raise ContractError(400, "Validation failed: backup_type must be 'full' or 'incremental'")
    if values["backup_type"] == "incremental" and not values["previous_change_id"]:
        raise ContractError(400, "Validation failed: previous_change_id is required for incremental backup")
    job_id = values["job_id"]
    if not job_id.startswith(_JOB_PREFIX):
        raise ContractError(400, "Validation failed: job_id must start with 'backup-'")
    try:
        parse_targets(values["nbd_targets"])
    except ValueError as error:
        raise ContractError(500, f"Command build failed: {error}") from error
    if len(job_id.encode("utf-8", "surrogatepass")) > _JOB_ID_LIMIT:
        raise ContractError(500, "Process start failed: failed to create log file: file name too long")
    if "/" in job_id or "\0" in job_id:
        raise ContractError(500, "Process start failed: failed to create log file: no such file or directory")
    return values


def note(request: Request, **fields: Any) -> None:
    """Add to the log entry of this call."""
    request.scope["reference_vma.note"].update(fields)


async def read_object(request: Request, prefix: str) -> dict[str, Any]:
    """Return the JSON object of a call. Raises ContractError."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise ContractError(400, f"{prefix}invalid JSON") from error
    if not isinstance(body, dict):
        raise ContractError(400, f"{prefix}json: cannot unmarshal into Go value")
    note(request, body=without_credentials(body))
    return body


class Contract:
    """Handlers of one appliance."""

    def __init__(self, appliance: Appliance) -> None:
        self._appliance = appliance

    def install(self, app: FastAPI) -> None:
        """Add the contract's routes to an application."""
        for method, path, on, handler in (
            ("POST", "/api/v1/backup/start", "", self.start),
            ("GET", "/api/v1/progress/{job_id}", "progress", self.progress),
            ("POST", "/api/v1/discover", "discover", self.discover),
            ("GET", "/api/v1/vms/{vm_path}/cbt-status", "cbt-status", self.cbt_status),
            ("POST", "/api/v1/cleanup", "cleanup", self.cleanup),
            ("GET", "/api/v1/health", "health", self.health),
        ):
            app.router.add_route(path, self._guard(on, handler), methods=[method], include_in_schema=False)

    def _guard(self, on: str, handler: Handler) -> Handler:
        """With faults (but for start, which takes its own) and plain-text errors."""

        async def guarded(request: Request) -> Response:
            try:
                fault = self._take(on, _vm_of(request), request.path_params.get("job_id", "")) if on else None
                return await self._answer(request, fault, lambda: handler(request))
            except ContractError as error:
                return plain_error(error.status, str(error))

        return guarded

    def _take(self, on: str, vm_path: str, job_id: str) -> Fault | None:
        fault = self._appliance.faults.take(on, vm_path, job_id)
        if fault:
            self._appliance.log.add("event", event="fault", on=on, mode=fault.mode, job_id=job_id, vm=vm_path)
        return fault

    async def _answer(self, request: Request, fault: Fault | None, act: Callable[[], Awaitable[Response]]) -> Response:
        """Return the answer of `act`, or what a fault makes of it."""
        if fault is None:
            return await act()
        text = str(fault.params.get("body", ""))
        match fault.mode:
            case "error":
                return plain_error(int(fault.params.get("status", 500)), text or "Internal server error")
            case "garbage":
                return HTMLResponse(text or _GARBAGE)
            case "no-answer":
                return await self._never(request)
            case "accept-no-answer":
                await act()
                return await self._never(request)
            case "accept-garbage":
                await act()
                return HTMLResponse(text or _GARBAGE)
        await asyncio.sleep(float(fault.params.get("seconds", 5)))
        return await act()

    async def _never(self, request: Request) -> Response:
        """Wait until the caller gives up; the call is in the log meanwhile, without a status."""
        request.scope["reference_vma.log_now"]()
        while not await request.is_disconnected():  # noqa: ASYNC110 (Starlette has no event for it)
            await asyncio.sleep(_POLL_SECONDS)
        return Response()

    async def start(self, request: Request) -> Response:
        """POST /api/v1/backup/start: 200, whether the job can work or not."""
        values = check_start(await read_object(request, "Invalid request: "))
        job_id, vm_path = values["job_id"], values["vm_path"]
        note(request, job_id=job_id, vm=vm_path)

        async def act() -> Response:
            try:
                pid = await run_in_threadpool(self._appliance.start_job, values)
            except (OSError, RuntimeError, ValueError) as error:
                raise ContractError(500, f"Process start failed: {error}") from error
            answer = {"job_id": job_id, "status": "started", "message": "Backup started successfully"}
            return JSONResponse({**answer, "started_at": datetime.now(UTC).isoformat(), "pid": pid})

        return await self._answer(request, self._take("start", vm_path, job_id), act)

    async def progress(self, request: Request) -> Response:
        """GET /api/v1/progress/JOB: 404 until the client's first report."""
        job_id = request.path_params["job_id"]
        note(request, job_id=job_id)
        record = self._appliance.jobs.progress(job_id)
        if record is None:
            raise ContractError(404, f"Job not found: {job_id}")
        return JSONResponse(record)

    async def discover(self, request: Request) -> Response:
        """POST /api/v1/discover."""
        body = await read_object(request, "Invalid request body: ")
        values = {name: body.get(name) or "" for name in ("vcenter", "username", "password", "datacenter", "filter")}
        if not all(isinstance(value, str) for value in values.values()):
            raise ContractError(400, "Invalid request body: json: cannot unmarshal into a string")
        if not values["datacenter"]:
            raise ContractError(500, "Discovery failed: datacenter is required")
        vcenter = self._appliance.vcenter
        try:
            vcenter.login(values["vcenter"], values["username"], values["password"])
        except VCenterError as error:
            raise ContractError(500, f"Failed to connect to vCenter: {error}") from error
        try:
            machines = await run_in_threadpool(vcenter.discover, values["datacenter"], values["filter"])
        except VCenterError as error:
            raise ContractError(500, f"Discovery failed: {error}") from error
        host = {"host": values["vcenter"], "datacenter": values["datacenter"]}
        return JSONResponse({"vcenter": host, "vms": machines})

    async def cbt_status(self, request: Request) -> Response:
        """GET /api/v1/vms/PATH/cbt-status, the path escaped twice."""
        vm_path, query = _vm_of(request), request.query_params
        note(request, vm=vm_path)
        try:
            self._appliance.vcenter.login(
                query.get("vcenter", ""), query.get("username", ""), query.get("password", "")
            )
            vm = await run_in_threadpool(self._appliance.vcenter.find, vm_path)
        except VCenterError as error:
            raise ContractError(500, f"Failed to check CBT status: {error}") from error
        power = str(vm.setting("power_state", "poweredOn"))
        enabled = cbt_enabled(self._appliance.settings, vm)
        return JSONResponse({"enabled": enabled, "vm_name": "", "power_state": power, "vm_path": vm_path})

    async def cleanup(self, request: Request) -> Response:
        """POST /api/v1/cleanup: one action is not implemented, the other does nothing."""
        body = await read_object(request, "Invalid request: ")
        note(request, job_id=str(body.get("job_id", "")))
        match body.get("action"):
            case "delete_snapshot":
                raise ContractError(500, "Cleanup failed: delete_snapshot not implemented")
            case "cleanup_all":
                return JSONResponse({"status": "success", "message": "Cleanup completed"})
        raise ContractError(400, "Invalid request: unknown action")

    async def health(self, request: Request) -> Response:
        """GET /api/v1/health."""
        began = time.perf_counter_ns()
        stamp = datetime.now(UTC).isoformat()
        # As the appliance's: the time since this very call, so it says nothing about a restart.
        uptime = f"{time.perf_counter_ns() - began}ns"
        return JSONResponse({"status": "healthy", "timestamp": stamp, "uptime": uptime})


def _vm_of(request: Request) -> str:
    """Return the inventory path of a call; the server has unescaped it once, this is the second time."""
    return unquote(request.path_params.get("vm_path", ""))
