"""Client of the VMA's HTTP API. Retries are bounded and never start a job twice."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from sendense_operator import bounded_http
from sendense_operator.logs import silence_http_loggers
from sendense_operator.vma.credentials import Credentials
from sendense_operator.vma.errors import StartUnknown, VMAGarbage, VMARefused, VMAUnreachable
from sendense_operator.vma.inventory import parse_inventory
from sendense_operator.vma.messages import (
    CBTStatus,
    Inventory,
    RawInventory,
    StartAccepted,
    VMAHealth,
    VMAProgress,
    VMAStartRequest,
)
from sendense_operator.vma.untrusted_text import describe_validation, name_cause, tidy

RETRY_DELAYS: Final = (0.5, 2.0)
"""Seconds before the second and before the third try."""

_MIB: Final = 1 << 20
_INVENTORY: Final = 16 * _MIB
"""Largest answer to a discover call, in bytes; a VM takes about 700, so MAX_VMS of them fit."""
_VALUES: Final = 1_000_000
"""Most JSON values in an answer; each takes up to 100 bytes of memory when decoded."""
_ERROR_TEXT_READ: Final = 64 * 1024
"""Bytes that are read of an error's text."""
_PROXY_DOWN: Final = frozenset({502, 503, 504})
"""Statuses that only a proxy sends, not the VMA. Some proxies send 503 also after they have forwarded the call."""
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    method: str
    path: str
    params: dict[str, str] | None = None
    json: dict[str, str] | None = None
    credentials: Credentials | None = None
    limit: int = _MIB
    """Largest answer in bytes."""


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    body: bytes


class _Broken(Exception):  # noqa: N818 - never leaves this module
    """There was no answer. `sent`: the request may have been processed. `again`: another try may succeed."""

    def __init__(self, why: str, *, sent: bool, again: bool) -> None:
        super().__init__(why)
        self.sent = sent
        self.again = again


class VMAClient:
    """Client of one VMA; an async context manager. All calls raise only subclasses of VMAError."""

    def __init__(
        self,
        url: str,
        ca_bundle: Path | None = None,
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
        retry_delays: Sequence[float] = RETRY_DELAYS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Initialize; `url`: base URL; `timeout`: seconds for one try of a call, including its answer.

        Raises ValueError for a URL that is not http(s) or contains more than host, port and path. Raises OSError or
        ssl.SSLError for a CA bundle that can't be read.
        """
        silence_http_loggers()
        self._url = _checked_url(url)
        self._timeout = timeout
        self._retry_delays = tuple(retry_delays)
        self._sleep = sleep
        self._http = httpx.AsyncClient(
            verify=_tls(self._url, ca_bundle),
            # A proxy from the environment would see the credentials, and a redirect could send them elsewhere.
            trust_env=False,
            follow_redirects=False,
            # If the VMA closes a reused connection while a start call is sent, it is not known whether it arrived.
            limits=httpx.Limits(max_keepalive_connections=0),
            timeout=httpx.Timeout(timeout, connect=timeout / 3),
            headers=bounded_http.HEADERS,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def health(self) -> VMAHealth:
        """Return the VMA's health."""
        call = _Call("health", "GET", "/api/v1/health")
        return self._parsed(VMAHealth, call, self._succeeded(call, await self._read(call)))

    async def discover(
        self, credentials: Credentials, vcenter: str, datacenter: str, name_filter: str = ""
    ) -> Inventory:
        """Return the VMs of a datacenter. Entries that can't be read are in `broken`."""
        body = {
            "vcenter": vcenter,
            "username": credentials.username,
            "password": credentials.password,
            "datacenter": datacenter,
        }
        if name_filter:
            body["filter"] = name_filter
        call = _Call(
            "discover",
            "POST",
            "/api/v1/discover",
            json=body,
            credentials=credentials,
            limit=_INVENTORY,
        )
        raw = self._parsed(RawInventory, call, self._succeeded(call, await self._read(call)))
        return parse_inventory(raw, credentials)

    async def cbt_status(self, credentials: Credentials, vcenter: str, vm_path: str) -> CBTStatus:
        """Return whether CBT is on. A wrong password or unknown VM raises VMARefused with vCenter's error text."""
        # Both the VMA's router and its handler unescape the path, so it is escaped twice (vma-contract 6.2).
        twice = quote(quote(vm_path, safe=""), safe="")
        call = _Call(
            "cbt-status",
            "GET",
            f"/api/v1/vms/{twice}/cbt-status",
            params={
                "vcenter": vcenter,
                "username": credentials.username,
                "password": credentials.password,
            },
            credentials=credentials,
        )
        return self._parsed(CBTStatus, call, self._succeeded(call, await self._read(call)))

    async def progress(self, job_id: str) -> VMAProgress | None:
        """Return the job's progress record, None if there is none (404)."""
        call = _Call("progress", "GET", f"/api/v1/progress/{quote(job_id, safe='')}")
        response = await self._read(call)
        if response.status == 404:
            return None
        return self._parsed(VMAProgress, call, self._succeeded(call, response))

    async def start(self, request: VMAStartRequest, credentials: Credentials) -> StartAccepted:
        """Start a job, at most once. Raises StartUnknown if the call was sent but not clearly answered.

        The call is repeated only if no connection was made, so that the VMA can't have received it.
        """
        body = {
            **request.model_dump(),
            "vcenter_user": credentials.username,
            "vcenter_password": credentials.password,
        }
        call = _Call("start", "POST", "/api/v1/backup/start", json=body, credentials=credentials)
        try:
            response = await self._retried(call, lambda broken: not broken.sent)
            if response.status in _PROXY_DOWN:
                raise StartUnknown(f"start: a proxy answered {response.status}; it is not known whether the job runs")
            accepted = self._parsed(StartAccepted, call, self._succeeded(call, response))
        except _Broken as broken:
            if broken.sent:
                raise StartUnknown(f"start: sent, but {broken}; it is not known whether the job runs") from None
            raise VMAUnreachable(f"start: {broken}") from None
        except VMAGarbage as error:
            raise StartUnknown(f"{error}; it is not known whether the job runs") from None
        if accepted.job_id != request.job_id:
            raise StartUnknown("start: job_id: the VMA answered for another job; it is not known whether this one runs")
        return accepted

    async def _read(self, call: _Call) -> _Response:
        """Send a call that changes nothing, and repeat it if that may help."""
        try:
            return await self._retried(call, lambda broken: broken.again, again_on=_PROXY_DOWN)
        except _Broken as broken:
            raise VMAUnreachable(f"{call.name}: {broken}") from None

    async def _retried(
        self, call: _Call, again: Callable[[_Broken], bool], again_on: frozenset[int] = frozenset()
    ) -> _Response:
        for delay in self._retry_delays:
            try:
                response = await self._send(call)
            except _Broken as broken:
                if not again(broken):
                    raise
            else:
                if response.status not in again_on:
                    return response
            await self._sleep(delay)
        response = await self._send(call)
        if response.status in again_on:
            raise _Broken(f"the VMA at {self._url} answered {response.status}", sent=True, again=False)
        return response

    async def _send(self, call: _Call) -> _Response:
        """Send a call once. Exceptions of httpx contain the request with its URL and body, so they are not chained."""
        at = f"the VMA at {self._url}"
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(call)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            why = tidy(name_cause(error), call.credentials)
            raise _Broken(f"{at} can't be reached: {why}", sent=False, again=True) from None
        except (TimeoutError, httpx.TimeoutException):
            # Not repeated: that would only double the wait.
            raise _Broken(f"{at} did not answer within {self._timeout:g} s", sent=True, again=False) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = tidy(name_cause(error), call.credentials)
            raise _Broken(f"{at} closed the connection: {why}", sent=True, again=True) from None

    async def _exchange(self, call: _Call) -> _Response:
        async with self._http.stream(
            call.method, self._url + call.path, params=call.params, json=call.json
        ) as response:
            try:
                limit = call.limit if response.is_success else _ERROR_TEXT_READ
                body, whole = await bounded_http.read_at_most(response, limit)
            except bounded_http.EncodedError as error:
                if response.is_success:
                    raise VMAGarbage(f"{call.name}: {error}") from None
                return _Response(response.status_code, str(error).encode())
            if response.is_success and not whole:
                raise VMAGarbage(f"{call.name}: the answer is larger than {limit} bytes")
            return _Response(response.status_code, body)

    def _succeeded(self, call: _Call, response: _Response) -> bytes:
        if 200 <= response.status < 300:
            return response.body
        text = tidy(response.body.decode("utf-8", "replace"), call.credentials)
        raise VMARefused(call.name, response.status, text)

    def _parsed(self, model: type[_Model], call: _Call, body: bytes) -> _Model:
        if bounded_http.count_values(body) > _VALUES:
            raise VMAGarbage(f"{call.name}: the answer has more than {_VALUES} values")
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            raise VMAGarbage(f"{call.name}: {describe_validation(error, '', call.credentials)}") from None


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"VMA URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("VMA URL: must be http://HOST:PORT or https://HOST:PORT")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise ValueError("VMA URL: user, query and fragment are not allowed")
    return str(parsed).rstrip("/")


def _tls(url: str, ca_bundle: Path | None) -> ssl.SSLContext | bool:
    if ca_bundle is not None:
        return ssl.create_default_context(cafile=str(ca_bundle))
    # Loading the public CAs takes 20 ms of CPU and is not needed for plain HTTP; an empty context trusts no CA.
    return True if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
