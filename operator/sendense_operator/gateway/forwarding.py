"""Finding a call's worker, waiting for it if need be, and passing the call on."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import uuid
from dataclasses import dataclass
from typing import Final

import httpx

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.worker_index import Worker
from sendense_operator.gateway.callback_request import Call
from sendense_operator.gateway.limits import CallLimits
from sendense_operator.gateway.worker_directory import WorkerDirectory
from sendense_operator.logs import backup_context, get_logger
from sendense_operator.vma.callback_bodies import MAX_BODY
from sendense_operator.vma.callback_rules import CALL_ID_HEADER
from sendense_operator.vma.nbd_targets import format_host

log = get_logger(__name__)

RETRY_CONNECT_S: Final = 0.5
_CONNECT_S: Final = 5.0
_SEND_S: Final = 30.0
_TELEMETRY_S: Final = 5.0
_RESENDS: Final = 3
_KEEPALIVE: Final = [
    # No read time-out is set, so this is what notices a worker whose node is gone: after 30 + 3 * 10 s.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the VMA is answered."""

    status: int
    body: bytes
    content_type: str = "application/json"
    worker: Worker | None = None


class _NotSent(Exception):  # noqa: N818 - never leaves this module
    """No connection came about: the worker can't have seen the call."""


class _Lost(Exception):  # noqa: N818 - never leaves this module
    """The connection broke after the call was (perhaps) sent."""


def refusal(status: int, text: str, worker: Worker | None = None) -> Outcome:
    """Build an answer of the gateway's own."""
    return Outcome(status, json.dumps({"error": text}).encode(), worker=worker)


class Forwarder:
    """Passes calls on to workers."""

    def __init__(
        self, directory: WorkerDirectory, limits: CallLimits, hold_s: float, worker_port: int = names.STATUS_PORT
    ) -> None:
        self._directory = directory
        self._limits = limits
        self._hold_s = hold_s
        self._port = worker_port
        transport = httpx.AsyncHTTPTransport(
            # Fresh connections: on one that the worker closes just now it is open whether the call arrived.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            trust_env=False,
            verify=False,  # plain HTTP inside the cluster: load no certificates
            socket_options=_KEEPALIVE,
        )
        self._http = httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def deliver(self, call: Call) -> Outcome:
        """Return the worker's answer, or one of ours: 404 (no such job), 502, 503. Raises TooManyCallsError."""
        if call.best_effort:
            return await self._deliver_once(call)
        call_id = uuid.uuid4().hex
        for _ in range(_RESENDS):
            found = await self._reach(call, call_id)
            if not isinstance(found, _Lost):
                return found
            # `complete` is idempotent at the worker, and a request is recognised by its call id, so both may be sent
            # again. Mostly the worker is about to go: then it is not reached any more, or has ended.
            log.warning("connection lost", call=call.name, appliance=call.appliance, job=call.job, error=found)
        return refusal(502, "the worker broke the connection")

    async def _reach(self, call: Call, call_id: str) -> Outcome | _Lost:
        """Send as soon as there is a connection to the worker; holds the call for at most `hold_s`."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._hold_s
        admitted = False
        while True:
            version = self._directory.version
            worker = call.find(self._directory)
            if worker is not None and worker.ended:
                return refusal(404, "the job has ended", worker)
            reachable = worker is not None and worker.ip != ""
            if worker is not None and reachable:
                try:
                    return await self._send(worker, call, call_id, None)
                except _NotSent:
                    pass  # the pod comes up or goes: its state in the directory will say
                except _Lost as lost:
                    return lost
            remaining = deadline - clock()
            if remaining <= 0:
                return self._never(worker)
            with self._limits.holding(call.appliance, admitted=admitted):
                admitted = True
                await self._pause(version, remaining, retry=reachable)

    async def _pause(self, version: int, remaining: float, *, retry: bool) -> None:
        """Wait for news of the workers; with `retry`, no longer than until the next connect."""
        limit = min(remaining, RETRY_CONNECT_S) if retry else remaining
        try:
            async with asyncio.timeout(max(limit, 0)):
                await self._directory.wait_change(version)
        except TimeoutError:
            return
        if retry:
            # Something else changed: do not let a busy cluster turn this into a busy loop.
            await asyncio.sleep(max(min(limit, 0.05), 0))

    def _never(self, worker: Worker | None) -> Outcome:
        if worker is not None:
            return refusal(503, "the worker can not be reached", worker)
        if not self._directory.synced:
            return refusal(503, "the gateway does not see the cluster")
        return refusal(404, "no such job")

    async def _deliver_once(self, call: Call) -> Outcome:
        worker = call.find(self._directory)
        if worker is None or worker.ended or not worker.ip:
            return refusal(404, "no such job", worker)
        try:
            return await self._send(worker, call, uuid.uuid4().hex, _TELEMETRY_S)
        except (_NotSent, _Lost):
            return refusal(502, "the worker did not answer", worker)

    async def _send(self, worker: Worker, call: Call, call_id: str, read_s: float | None) -> Outcome:
        try:
            async with self._http.stream(
                call.method,
                f"http://{format_host(worker.ip)}:{self._port}{call.target}",
                content=call.body,
                headers={"Content-Type": "application/json", CALL_ID_HEADER: call_id},
                # The VMA waits for slow answers, so do we: a lost `complete` is a lost backup.
                timeout=httpx.Timeout(read_s, connect=_CONNECT_S, write=_SEND_S, pool=None),
            ) as response:
                body = bytearray()
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_BODY:
                        return refusal(502, "the worker's answer is too large", worker)
                content_type = response.headers.get("content-type", "application/json")
                return Outcome(response.status_code, bytes(body), content_type, worker)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _NotSent(type(error).__name__) from None
        except httpx.HTTPError as error:
            raise _Lost(type(error).__name__) from None


def log_outcome(call: Call, outcome: Outcome, seconds: float) -> None:
    """Log one line per call; no bodies, no names from VMware."""
    worker = outcome.worker
    fields = {
        "call": call.name,
        "appliance": call.appliance,
        "job": call.job,
        "pod": worker.pod_name if worker else None,
        "status": outcome.status,
        "seconds": round(seconds, 3),
    }
    level = logging.DEBUG if call.best_effort and outcome.status == 200 else logging.INFO
    if worker is None:
        log.log(level, "callback", **fields)
        return
    with backup_context(worker.namespace, worker.backup):
        log.log(level, "callback", **fields)
