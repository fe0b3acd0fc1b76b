"""The VMA's HTTP API. Retries are bounded and never start a job twice."""

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
from sendense_operator.vma.messages import (
    BrokenVM,
    CBTStatus,
    Inventory,
    InventoryVM,
    RawInventory,
    StartAccepted,
    VMAHealth,
    VMAProgress,
    VMAStartRequest,
)
from sendense_operator.vma.untrusted_text import describe_validation, name_cause, tidy

RETRY_DELAYS: Final = (0.5, 2.0)
"""Seconds before the second and the third try."""

_MIB: Final = 1 << 20
_INVENTORY: Final = 16 * _MIB
"""Bytes of a discover answer: a VM takes some 700, and MAX_VMS of them fit."""
_VALUES: Final = 1_000_000
"""JSON values in an answer: decoding turns each of them into up to 100 bytes."""
_ERROR_TEXT_READ: Final = 64 * 1024
_PROXY_DOWN: Final = frozenset({502, 503, 504})
"""Never the VMA's own. Some proxies say 503 too after they have sent a call on."""
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
    """Bytes of the answer."""


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    body: bytes


class _Broken(Exception):  # noqa: N818 - never leaves this module
    """No answer. `sent`: the request may have been processed; `again`: another try may help."""

    def __init__(self, why: str, *, sent: bool, again: bool) -> None:
        super().__init__(why)
        self.sent = sent
        self.again = again


class VMAClient:
    """Calls one VMA; use it as an async context manager. Every call raises VMAError's subclasses only."""

    def __init__(
        self,
        url: str,
        ca_bundle: Path | None = None,
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
        retry_delays: Sequence[float] = RETRY_DELAYS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`url`: base URL. `timeout`: seconds for one whole try of a call, answer included.

        Raises ValueError for a URL that is not http(s) or holds more than host, port and path, and OSError or
        ssl.SSLError for a CA bundle that can't be read.
        """
        silence_http_loggers()
        self._url = _checked_url(url)
        self._timeout = timeout
        self._retry_delays = tuple(retry_delays)
        self._sleep = sleep
        self._http = httpx.AsyncClient(
            verify=_tls(self._url, ca_bundle),
            # A proxy of the environment would see the credentials, and a redirect could carry them elsewhere.
            trust_env=False,
            follow_redirects=False,
            # A connection that the VMA closes while a start goes out leaves open whether it arrived: use fresh ones.
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
        """GET health."""
        call = _Call("health", "GET", "/api/v1/health")
        return self._parsed(VMAHealth, call, self._succeeded(call, await self._read(call)))

    async def discover(
        self, credentials: Credentials, vcenter: str, datacenter: str, name_filter: str = ""
    ) -> Inventory:
        """List the VMs of a datacenter. A VM whose entry can't be read goes to `broken`."""
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
        return _inventory(raw, credentials)

    async def cbt_status(self, credentials: Credentials, vcenter: str, vm_path: str) -> CBTStatus:
        """Tell whether CBT is on; a wrong password or an unknown VM is VMARefused in vCenter's own words."""
        # The VMA's router unescapes once and its handler once more: escaped twice, a slash of the path survives.
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
        """Start a job, at most once. Raises StartUnknown if it was sent and no clear answer came.

        It is tried again only if no connection came about, so that the VMA can't have seen it.
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
                raise StartUnknown(f"start: a proxy answered {response.status}: whether the job runs is not known")
            accepted = self._parsed(StartAccepted, call, self._succeeded(call, response))
        except _Broken as broken:
            if broken.sent:
                raise StartUnknown(f"start: sent, but {broken}: whether the job runs is not known") from None
            raise VMAUnreachable(f"start: {broken}") from None
        except VMAGarbage as error:
            raise StartUnknown(f"{error}; whether the job runs is not known") from None
        if accepted.job_id != request.job_id:
            raise StartUnknown("start: job_id: the VMA answered for another job; whether ours runs is not known")
        return accepted

    async def _read(self, call: _Call) -> _Response:
        """Send a call that changes nothing, again where that may help."""
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
        """Send once. Exceptions of httpx hold the request, hence its URL and body: none is chained."""
        at = f"the VMA at {self._url}"
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(call)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            why = tidy(name_cause(error), call.credentials)
            raise _Broken(f"{at} can't be reached: {why}", sent=False, again=True) from None
        except (TimeoutError, httpx.TimeoutException):
            # Another try would only double the wait.
            raise _Broken(f"{at} did not answer within {self._timeout:g} s", sent=True, again=False) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = tidy(name_cause(error), call.credentials)
            raise _Broken(f"{at} broke the connection: {why}", sent=True, again=True) from None

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
            raise VMAGarbage(f"{call.name}: the answer holds more than {_VALUES} values")
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            raise VMAGarbage(f"{call.name}: {describe_validation(error, '', call.credentials)}") from None


def _inventory(raw: RawInventory, credentials: Credentials) -> Inventory:
    vms: list[InventoryVM] = []
    broken: list[BrokenVM] = []
    for position, entry in enumerate(raw.vms):
        try:
            vms.append(InventoryVM.model_validate(entry))
        except ValidationError as error:
            reported = entry if isinstance(entry, dict) else {}
            message = describe_validation(error, f"vms[{position}]", credentials)
            broken.append(BrokenVM(id=_text(reported.get("id")), path=_text(reported.get("path")), message=message))
    return Inventory(vms=tuple(vms), broken=tuple(broken))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


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
    # Loading the public CAs takes 20 ms of CPU, for nothing with plain HTTP; an empty context trusts nobody.
    return True if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
