"""The gateway's HTTP surface: per appliance the VMA's callback paths, and probes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from sendense_operator.gateway.callback_request import (
    Call,
    Subject,
    build_changeid,
    build_complete,
    build_telemetry,
    subject_of_job,
    subject_of_query,
)
from sendense_operator.gateway.caller_check import CallDenied, Door, Origin
from sendense_operator.gateway.drain import CloseConnections, Drain
from sendense_operator.gateway.forwarding import Forwarder, Outcome, log_outcome, refusal
from sendense_operator.gateway.limits import CallLimits, TooManyCallsError
from sendense_operator.gateway.request_body import BodyTooLargeError, read_body
from sendense_operator.gateway.unrouted_recorder import UnroutedRecorder
from sendense_operator.gateway.worker_directory import WorkerDirectory
from sendense_operator.logs import get_logger
from sendense_operator.object_key import ObjectKey
from sendense_operator.vma.callback_bodies import MAX_BODY, CallbackRefused

log = get_logger(__name__)

BASES: Final = ("/appliances/{namespace}/{appliance}/{token}", "/appliances/{namespace}/{appliance}")
"""With the secret part of the path, and as it was before there was one."""
RETRY_AFTER_S: Final = 5
_BODY_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the routes work with."""

    directory: WorkerDirectory
    door: Door
    forwarder: Forwarder
    limits: CallLimits
    drain: Drain
    sighted: UnroutedRecorder


def create_app(gateway: Gateway) -> FastAPI:
    """Build the application; closing it closes the forwarder."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await gateway.forwarder.aclose()

    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_middleware(CloseConnections)
    _add_probes(app, gateway)
    for base in BASES:
        _add_callbacks(app, gateway, base)
    return app


def _add_probes(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/healthz")
    async def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok")

    @app.get("/readyz")
    async def readyz() -> PlainTextResponse:
        if gateway.drain.draining:
            return PlainTextResponse("draining", 503)
        if not gateway.directory.synced:
            return PlainTextResponse("the worker pods are not listed yet", 503)
        if not gateway.door.synced:
            return PlainTextResponse("the appliances are not listed yet", 503)
        return PlainTextResponse("ok")


def _add_callbacks(app: FastAPI, gateway: Gateway, base: str) -> None:
    @app.get(base + "/api/v1/backups/changeid")
    async def changeid(request: Request, namespace: str, appliance: str) -> Response:
        return await _answer(
            gateway,
            request,
            lambda _: build_changeid(namespace, appliance, request.scope["query_string"]),
            lambda: subject_of_query(request.scope["query_string"]),
        )

    @app.post(base + "/api/v1/backups/{job_id}/complete")
    async def complete(request: Request, namespace: str, appliance: str, job_id: str) -> Response:
        return await _answer(
            gateway,
            request,
            lambda body: build_complete(namespace, appliance, job_id, body),
            lambda: subject_of_job(job_id),
        )

    @app.post(base + "/api/v1/telemetry/backup/{job_id}")
    async def telemetry(request: Request, namespace: str, appliance: str, job_id: str) -> Response:
        return await _answer(
            gateway,
            request,
            lambda body: build_telemetry(namespace, appliance, job_id, body),
            lambda: subject_of_job(job_id),
        )


async def _answer(
    gateway: Gateway,
    request: Request,
    build: Callable[[bytes], Call],
    subject: Callable[[], Subject],
) -> Response:
    """Admit, check, pass on, answer. `subject` is what the call is about; it is known before the body is read."""
    origin = _origin(request)
    try:
        # First, so that calls for no appliance of ours take no place from others, and cost next to nothing.
        gateway.door.check(origin)
        with gateway.limits.in_flight():
            about = subject()
            call = build(await _read_body(request))
            if not call.best_effort:
                _note_stray(gateway, origin, about)
            began = time.monotonic()
            outcome = await _until_gone(request, gateway.forwarder.deliver(call))
            log_outcome(call, outcome, time.monotonic() - began)
            if call.best_effort:
                _note_telemetry(gateway, origin, call.job, outcome)
    except CallDenied as denied:
        with contextlib.suppress(CallbackRefused):
            _note_stray(gateway, origin, subject(), denied.denial)
        log.debug("denied", reason=denied.denial, appliance=ObjectKey(origin.namespace[:63], origin.appliance[:63]))
        outcome = refusal(denied.status, str(denied))
    except CallbackRefused as refused:
        log.debug("refused", status=refused.status, reason=refused)
        outcome = refusal(refused.status, str(refused))
    except TooManyCallsError as error:
        log.warning("refused", status=503, reason=error)
        outcome = refusal(503, str(error))
    headers = {"Retry-After": str(RETRY_AFTER_S)} if outcome.status == 503 and outcome.worker is None else {}
    return Response(outcome.body, outcome.status, headers, outcome.content_type)


def _note_stray(gateway: Gateway, origin: Origin, about: Subject, denial: str = "") -> None:
    """Keep for the controller that a running job's call does not get to its worker by this path."""
    owner = gateway.directory.find_owner(about.uid, about.vm_key, origin.namespace)
    if owner is None or owner.ended:
        return
    own = (owner.namespace, owner.appliance) == (origin.namespace, origin.appliance)
    if denial or not own:
        # The same VM name may be on two appliances: who has a worker of its own for it is not astray.
        served = about.vm_key and gateway.directory.find_by_vm(origin.namespace, origin.appliance, about.vm_key)
        if denial or not served:
            gateway.sighted.stray_call(owner, origin, denial)


def _note_telemetry(gateway: Gateway, origin: Origin, job: str, outcome: Outcome) -> None:
    """Keep for the controller whether a job's telemetry finds a worker. One that was just not reached is none."""
    worker = outcome.worker
    # One that was requested to stop and can't be reached may be on a lost node.
    lost = worker is not None and worker.terminating and outcome.status == 502
    if worker is not None and not worker.ended and not lost:
        gateway.sighted.known_job(origin.namespace, origin.appliance, job)
    elif gateway.directory.synced:
        gateway.sighted.stray_telemetry(origin.namespace, origin.appliance, job)


def _origin(request: Request) -> Origin:
    """Return where a call came from. No header is believed: whoever calls may write any."""
    found = request.path_params
    source = request.client.host if request.client else ""
    return Origin(found["namespace"], found["appliance"], found.get("token", ""), source)


async def _read_body(request: Request) -> bytes:
    """Return the whole body. Raises CallbackRefused (413, 408)."""
    try:
        return await read_body(request.stream(), MAX_BODY, _BODY_S)
    except TimeoutError:
        raise CallbackRefused(408, "body: did not arrive in time") from None
    except BodyTooLargeError as error:
        raise CallbackRefused(413, str(error)) from None


async def _until_gone(request: Request, delivery: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run the delivery, but give up when the VMA hangs up: nobody would read the answer."""
    task = asyncio.create_task(delivery)
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else refusal(499, "the caller hung up")
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
