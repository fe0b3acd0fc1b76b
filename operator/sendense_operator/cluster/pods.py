"""Watches the worker pods for the gateway: list, then follow, and again when the history was too short."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.exceptions import ApiException

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.errors import ClusterError, NotFoundError, UnavailableError, error_from_status
from sendense_operator.cluster.kinds import POD
from sendense_operator.cluster.workers import Worker, WorkerIndex
from sendense_operator.logs import kv

log = logging.getLogger(__name__)

_SELECTOR: Final = f"{names.LABEL_COMPONENT}={names.COMPONENT_WORKER}"
_WATCH_S: Final = 30
"""A watch lasts that long and is taken up again where it ended: a dead connection is noticed soon."""
_LIST_TIMEOUT: Final = aiohttp.ClientTimeout(total=15)
_WATCH_TIMEOUT: Final = aiohttp.ClientTimeout(total=_WATCH_S + 10, sock_connect=10)
_BACKOFF_S: Final = (0.5, 30.0)
_PAUSE_S: Final = 0.2
"""Between two watches, so that a server or proxy which ends them at once is not flooded."""


class _HistoryGoneError(Exception):
    """The API server no longer knows the resource version (410): list again."""


class WorkerPods:
    """All worker pods of some namespaces (none given: of the cluster). Run `run` in a task of its own."""

    def __init__(self, api: ApiClient, namespaces: Sequence[str] = ()) -> None:
        self._api = api
        self._scopes: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._index = WorkerIndex()
        self._listed: set[str | None] = set()
        self._version = 0
        self._changed = asyncio.Event()

    @property
    def synced(self) -> bool:
        """Whether every namespace was listed once. Stays true when the API server goes away."""
        return self._listed.issuperset(self._scopes)

    @property
    def version(self) -> int:
        """Grows with every change."""
        return self._version

    def find_by_pod_uid(self, namespace: str, appliance: str, uid: str) -> Worker | None:
        """See `WorkerIndex`."""
        return self._index.find_by_pod_uid(namespace, appliance, uid)

    def find_by_vm(self, namespace: str, appliance: str, vm_key: str) -> Worker | None:
        """See `WorkerIndex`."""
        return self._index.find_by_vm(namespace, appliance, vm_key)

    async def wait_change(self, version: int) -> None:
        """Return as soon as `self.version` differs from `version`."""
        while self._version == version:
            await self._changed.wait()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for scope in self._scopes:
                group.create_task(self._follow(scope), name=f"pods of {scope or 'all namespaces'}")

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
                log.warning(kv(watch="pods", namespace=scope or "*", retry_s=f"{delay:.1f}", error=error))
                # spread, so that two replicas and many namespaces do not come at once
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                delay = min(delay * 2, _BACKOFF_S[1])
                version = ""

    async def _list(self, scope: str | None) -> str:
        async with self._get(scope, [], _LIST_TIMEOUT) as response:
            body = _object(await response.read())
            # all of it is read before anything known is dropped: an answer that is no list must change nothing
            version = str(body["metadata"]["resourceVersion"])
            workers = [Worker.from_pod(pod) for pod in body["items"] or ()]
        self._index.replace(workers, scope)
        self._listed.add(scope)
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
            async for line in response.content:
                version = self._take(_object(line)) or version
        return version

    def _take(self, event: dict[str, Any]) -> str:
        """Apply one watch event; returns its resource version."""
        kind, obj = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            if obj.get("code") == 410:
                raise _HistoryGoneError
            raise error_from_status(int(obj.get("code") or 0), json.dumps(obj))
        if kind in ("ADDED", "MODIFIED"):
            if self._index.put(Worker.from_pod(obj)):
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
        """GET the pods; errors of the connection and of what is read inside are translated."""
        async with AsyncExitStack() as stack:
            try:
                request = await self._api.param_serialize(
                    "GET",
                    POD.path(scope),
                    query_params=[("labelSelector", _SELECTOR), *query],
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


def _raise_for(status: int, body: str) -> None:
    if status == 410:
        raise _HistoryGoneError
    error = error_from_status(status, body)
    # "no such kind" cannot be meant for pods: some proxy's answer
    raise UnavailableError(str(error)) if isinstance(error, NotFoundError) else error


def _object(raw: bytes) -> dict[str, Any]:
    parsed = json.loads(raw)
    if not isinstance(parsed, dict):
        raise ValueError("no object")
    return parsed
