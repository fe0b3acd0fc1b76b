"""Keeps an index in memory of what the API server has: list, then follow, and again when the history was too short."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Generic, Protocol, TypeVar

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.exceptions import ApiException

from sendense_operator.cluster.errors import ClusterError, NotFoundError, UnavailableError, error_from_status
from sendense_operator.cluster.kinds import Kind
from sendense_operator.cluster.objects import Obj
from sendense_operator.logs import get_logger

log = get_logger(__name__)

_WATCH_S: Final = 30
"""A watch lasts that long and is taken up again where it ended: a dead connection is noticed soon."""
_LIST_TIMEOUT: Final = aiohttp.ClientTimeout(total=15)
_WATCH_TIMEOUT: Final = aiohttp.ClientTimeout(total=_WATCH_S + 10, sock_connect=10)
_BACKOFF_S: Final = (0.5, 30.0)
_PAUSE_S: Final = 0.2
"""Between two watches, so that a server or proxy which ends them at once is not flooded."""
_PAGE: Final = 250
"""Objects of a list that are read at once: only what the index keeps of them stays in memory."""
_MAX_LINE: Final = 16 << 20
"""Bytes of one event: far more than etcd takes for an object."""

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Index(Protocol[T_contra]):
    """What a Mirror fills. No I/O."""

    def put(self, item: T_contra, /) -> bool:
        """Add or replace one. Returns whether anything changed."""
        ...

    def remove(self, uid: str, /) -> bool:
        """Forget the one with that UID. Returns whether it was there."""
        ...

    def replace(self, items: Iterable[T_contra], namespace: str | None, /) -> None:
        """Take a fresh list of one namespace, or (None) of all."""
        ...


class _HistoryGoneError(Exception):
    """The API server no longer knows the resource version (410): list again."""


class Mirror(Generic[T]):
    """All objects of a kind in some namespaces (none given: of the cluster). Run `run` in a task of its own.

    `read` takes of an object what the index keeps; it may raise KeyError or ValueError for what can't be one: then
    all is listed again, later. `labels`: a label selector.
    """

    def __init__(
        self,
        api: ApiClient,
        kind: Kind,
        index: Index[T],
        read: Callable[[Obj], T],
        namespaces: Sequence[str] = (),
        labels: str = "",
    ) -> None:
        self._api = api
        self._kind = kind
        self._index = index
        self._read = read
        self._selector = [("labelSelector", labels)] if labels else []
        self._scopes: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._heard: dict[str | None, float] = {}
        self._version = 0
        self._changed = asyncio.Event()

    @property
    def synced(self) -> bool:
        """Whether every namespace was listed once. Stays true when the API server goes away."""
        return len(self._heard) == len(self._scopes)

    @property
    def age_s(self) -> float:
        """Seconds since the API server was heard of, in the namespace where that is longest; inf before `synced`."""
        return time.monotonic() - min(self._heard.values()) if self.synced else float("inf")

    @property
    def version(self) -> int:
        """Grows with every change."""
        return self._version

    async def wait_change(self, version: int) -> None:
        """Return as soon as `self.version` differs from `version`."""
        while self._version == version:
            await self._changed.wait()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for scope in self._scopes:
                group.create_task(self._follow(scope), name=f"{self._kind.plural} of {scope or 'all namespaces'}")

    async def _follow(self, scope: str | None) -> None:
        version = ""
        delay = _BACKOFF_S[0]
        while True:
            try:
                if not version:
                    version = await self._list(scope)
                version = await self._watch(scope, version)
                delay = _BACKOFF_S[0]
                await asyncio.sleep(_PAUSE_S)
            except _HistoryGoneError:
                version = ""
                await asyncio.sleep(_PAUSE_S)
            except ClusterError as error:
                log.warning(
                    "watch failed",
                    watch=self._kind.plural,
                    namespace=scope or "*",
                    retry_s=round(delay, 1),
                    error=error,
                )
                # spread, so that two replicas and many namespaces do not come at once
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                delay = min(delay * 2, _BACKOFF_S[1])
                version = ""

    async def _list(self, scope: str | None) -> str:
        items: list[T] = []
        token = ""
        while True:
            query = [("limit", str(_PAGE)), *([("continue", token)] if token else [])]
            async with self._get(scope, query, _LIST_TIMEOUT) as response:
                page = _object(await response.read())
                # all of it is read before anything known is dropped: an answer that is no list must change nothing
                version = str(page["metadata"]["resourceVersion"])
                items += [self._read(item) for item in page["items"] or ()]
                token = page["metadata"].get("continue") or ""
            if not token:
                break
        self._index.replace(items, scope)
        self._heard[scope] = time.monotonic()
        self._notify()
        return version

    async def _watch(self, scope: str | None, version: str) -> str:
        """Follow changes after `version` until the server ends the watch; returns where to go on."""
        query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", str(_WATCH_S)),
        ]
        async with self._get(scope, query, _WATCH_TIMEOUT) as response:
            self._heard[scope] = time.monotonic()
            async for line in _lines(response.content):
                version = self._take(_object(line)) or version
                self._heard[scope] = time.monotonic()
        return version

    def _take(self, event: dict[str, Any]) -> str:
        """Apply one watch event; returns its resource version."""
        kind, obj = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            if obj.get("code") == 410:
                raise _HistoryGoneError
            raise error_from_status(int(obj.get("code") or 0), json.dumps(obj))
        if kind in ("ADDED", "MODIFIED"):
            if self._index.put(self._read(obj)):
                self._notify()
        elif kind == "DELETED" and self._index.remove(obj["metadata"]["uid"]):
            self._notify()
        return str(obj["metadata"]["resourceVersion"])

    def _notify(self) -> None:
        self._version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def _get(
        self, scope: str | None, query: list[tuple[str, str]], limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """GET the objects; errors of the connection and of what is read inside are translated."""
        async with AsyncExitStack() as stack:
            try:
                request = await self._api.param_serialize(
                    "GET",
                    self._kind.path(scope),
                    query_params=[*self._selector, *query],
                    header_params={"Accept": "application/json"},
                    auth_settings=["BearerToken"],
                )
                answer = await self._api.call_api(*request, _request_timeout=limits)
                response: aiohttp.ClientResponse = await stack.enter_async_context(answer.response)
                if response.status != 200:
                    _raise_for(response.status, (await response.read()).decode("utf-8", "replace"))
                yield response
            except (TimeoutError, aiohttp.ClientError, OSError, ValueError, KeyError) as error:
                raise UnavailableError(f"API server: {type(error).__name__}: {error}") from error
            except ApiException as error:
                _raise_for(error.status or 0, str(error.body or error.reason))


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield the stream's non-blank lines; aiohttp's reader refuses those beyond 128 KiB. Raises ValueError."""
    rest = bytearray()
    async for chunk in content.iter_any():
        *whole, last = chunk.split(b"\n")
        for line in whole:
            rest += line
            if rest:
                yield bytes(rest)
            rest.clear()
        rest += last
        if len(rest) > _MAX_LINE:
            raise ValueError(f"an event of more than {_MAX_LINE} bytes")
    if rest:
        yield bytes(rest)


def _raise_for(status: int, body: str) -> None:
    if status == 410:
        raise _HistoryGoneError
    error = error_from_status(status, body)
    # "no such kind" passes: some proxy's answer, or a CRD that is about to come
    raise UnavailableError(str(error)) if isinstance(error, NotFoundError) else error


def _object(raw: bytes) -> dict[str, Any]:
    parsed = json.loads(raw)
    if not isinstance(parsed, dict):
        raise ValueError("no object")
    return parsed
