"""Calls that reach no worker, as the gateways saw them: read from all, kept, passed on to the objects concerned."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Final

import httpx

from sendense_operator import bounded_http
from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.kinds import POD
from sendense_operator.cluster.provenance import is_worker_pod
from sendense_operator.logs import get_logger
from sendense_operator.reconcile.state.context import ApplianceContext, ReconcileContext
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.vma.callback_keys import CallbackKeys
from sendense_operator.vma.sightings import MAX_ANSWER, PATH, Sightings, reader_token

POLL_S: Final = 5.0
_TIMEOUT_S: Final = 2.0
_MAX_GATEWAYS: Final = 20
_log = get_logger(__name__)


@dataclass
class HttpGatewayReader:
    """Reads each gateway behind a host name (a headless Service: one address per pod)."""

    host: str
    port: int
    keys: CallbackKeys
    _http: httpx.AsyncClient = field(
        default_factory=lambda: httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, follow_redirects=False)
    )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def read(self) -> list[Sightings]:
        """Return what each gateway that answers says; none where no host is set."""
        key = self.keys.current()
        if not self.host or key is None:
            return []
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                found = await asyncio.get_running_loop().getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError) as error:
            _log.debug("gateways not found", host=self.host, error=type(error).__name__)
            return []
        addresses = sorted({str(entry[4][0]) for entry in found})[:_MAX_GATEWAYS]
        answers = await asyncio.gather(*(self._one(address, reader_token(key)) for address in addresses))
        return [answer for answer in answers if answer is not None]

    async def _one(self, address: str, token: str) -> Sightings | None:
        host = f"[{address}]" if ":" in address else address
        headers = {"Authorization": f"Bearer {token}", **bounded_http.HEADERS}
        try:
            async with (
                asyncio.timeout(_TIMEOUT_S),
                self._http.stream("GET", f"http://{host}:{self.port}{PATH}", headers=headers) as response,
            ):
                body, whole = await bounded_http.read_at_most(response, MAX_ANSWER)
                good = whole and response.status_code == httpx.codes.OK
                return Sightings.model_validate_json(body) if good else None
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            _log.debug("gateway does not answer", address=address, error=type(error).__name__)
            return None


async def poll_gateways(ctx: ApplianceContext) -> float:
    """Take over what the gateways saw; wake the appliances and Backups that it is news for. Seconds until the next."""
    reports = await ctx.gateways.read()
    known = ctx.unrouted_calls
    if reports:
        known.take(reports, ctx.monotonic())
    for namespace, appliance in known.news(ctx.monotonic()):
        ctx.again(Key(Work.APPLIANCE, namespace, appliance))
        await _wake_backups(ctx, namespace, appliance)
    return POLL_S


async def _wake_backups(ctx: ReconcileContext, namespace: str, appliance: str) -> None:
    selector = f"{names.LABEL_COMPONENT}={names.COMPONENT_WORKER},{names.LABEL_APPLIANCE}={appliance}"
    for pod in await ctx.cluster.list_objects(POD, namespace, labels=selector):
        if is_worker_pod(pod):
            ctx.again(Key(Work.BACKUP, namespace, pod["metadata"]["labels"][names.LABEL_BACKUP]))
