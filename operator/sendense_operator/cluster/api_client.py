"""A thin asynchronous client of the API server: dicts in, dicts out, errors translated.

Objects are plain dicts as in YAML: the client library's models would cost memory for every kind and rename
every field. `Cluster` says what there is; `KubernetesCluster` is the real one.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, Protocol

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.exceptions import ApiException

from sendense_operator.cluster.api_connection import connect_api
from sendense_operator.cluster.errors import ClusterError, NotFoundError, UnavailableError, error_from_status
from sendense_operator.cluster.kinds import Kind
from sendense_operator.cluster.listing import Lister, collect
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.pod_log import read_log

FIELD_MANAGER: Final = "sendense-controller"
REQUEST_TIMEOUT_S: Final = 15.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
_PAGE: Final = 250
"""Objects of a list that are in memory at once, unless the caller keeps them."""
_CLOCK_TOLERANCE: Final = timedelta(seconds=3)

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"


class Cluster(Lister, Protocol):
    """What the controller requests of the API server. All methods raise `ClusterError` and nothing else."""

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Obj:
        """Return one object; NotFoundError when it is not there."""
        ...

    async def list_objects(self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = "") -> list[Obj]:
        """Return all objects that match both selectors, in one namespace or (None) in all."""
        ...

    async def create(self, kind: Kind, obj: Obj, *, dry_run: bool = False) -> Obj:
        """Create an object. Raises AlreadyExistsError when its name is taken."""
        ...

    async def apply(self, kind: Kind, obj: Obj, *, subresource: str = "") -> Obj:
        """Server-side apply: `obj` holds just the fields that this program owns."""
        ...

    async def json_patch(
        self, kind: Kind, namespace: str | None, name: str, operations: Sequence[Mapping[str, Any]]
    ) -> Obj:
        """RFC 6902; a failed `test` operation is an InvalidError."""
        ...

    async def merge_patch(self, kind: Kind, namespace: str | None, name: str, patch: Obj) -> Obj:
        """RFC 7386; with `metadata.resourceVersion` in the patch, ConflictError when it is out of date."""
        ...

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        propagation: Literal["Foreground", "Background", "Orphan"] = "Background",
    ) -> None:
        """Delete, if it is there (and, with `uid`, still the same one)."""
        ...

    async def read_log(self, namespace: str, pod: str, container: str) -> list[str]:
        """Read a container's log, at most pod_log.LOG_LIMIT bytes. Raises NotFoundError when the pod is gone."""
        ...


class KubernetesCluster:
    """`Cluster` on kubernetes.aio. Use as an asynchronous context manager, or call `close`.

    `manager`: who owns the fields that are written.
    """

    def __init__(self, api: ApiClient, manager: str = FIELD_MANAGER) -> None:
        self._api: Any = api  # the library is not typed
        self._manager = manager
        self._ahead = timedelta()

    @classmethod
    async def connect(cls) -> KubernetesCluster:
        """See `connect_api`."""
        return cls(await connect_api())

    @property
    def api(self) -> ApiClient:
        """The connection, for a Mirror of the same API server."""
        api: ApiClient = self._api
        return api

    def now(self) -> datetime:
        """Return the time by the API server's clock, which wrote all times that ours are compared with."""
        return datetime.now(UTC) + self._ahead

    def _set_clock(self, date: str | None) -> None:
        """Learn the server's clock from an answer's Date. Whole seconds: a small difference means nothing."""
        if not date:
            return
        try:
            ahead = parsedate_to_datetime(date) - datetime.now(UTC)
        except (TypeError, ValueError):
            return
        if abs(ahead - self._ahead) > _CLOCK_TOLERANCE:
            self._ahead = ahead if abs(ahead) > _CLOCK_TOLERANCE else timedelta()

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def __aenter__(self) -> KubernetesCluster:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Obj:
        """See `Cluster`."""
        return await self._call("GET", kind.path(namespace, name))

    async def list_objects(self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = "") -> list[Obj]:
        """See `Cluster`."""
        return await collect(self, kind, namespace, lambda obj: obj, labels=labels, fields=fields)

    async def pages(
        self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[list[Obj]]:
        """See `Lister`. An expired continue token comes as 410, which is a NotFoundError."""
        token = ""
        while True:
            query = [("limit", str(_PAGE))]
            query += [("labelSelector", labels)] if labels else []
            query += [("fieldSelector", fields)] if fields else []
            query += [("continue", token)] if token else []
            page = await self._call("GET", kind.path(namespace), query=query)
            yield [_listed(kind, item) for item in page["items"]]
            token = page.get("metadata", {}).get("continue", "")
            if not token:
                return

    async def create(self, kind: Kind, obj: Obj, *, dry_run: bool = False) -> Obj:
        """See `Cluster`."""
        query = [("fieldManager", self._manager)] + ([("dryRun", "All")] if dry_run else [])
        return await self._call(
            "POST", kind.path(obj["metadata"].get("namespace")), query=query, body=_typed(kind, obj)
        )

    async def apply(self, kind: Kind, obj: Obj, *, subresource: str = "") -> Obj:
        """See `Cluster`."""
        meta = obj["metadata"]
        return await self._call(
            "PATCH",
            kind.path(meta.get("namespace"), meta["name"], subresource),
            query=[("fieldManager", self._manager), ("force", "true")],
            body=_typed(kind, obj),
            content_type=APPLY_PATCH,
        )

    async def json_patch(
        self, kind: Kind, namespace: str | None, name: str, operations: Sequence[Mapping[str, Any]]
    ) -> Obj:
        """See `Cluster`."""
        return await self._call(
            "PATCH",
            kind.path(namespace, name),
            query=[("fieldManager", self._manager)],
            body=list(operations),
            content_type=JSON_PATCH,
        )

    async def merge_patch(self, kind: Kind, namespace: str | None, name: str, patch: Obj) -> Obj:
        """See `Cluster`."""
        return await self._call(
            "PATCH",
            kind.path(namespace, name),
            query=[("fieldManager", self._manager)],
            body=patch,
            content_type=MERGE_PATCH,
        )

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        propagation: Literal["Foreground", "Background", "Orphan"] = "Background",
    ) -> None:
        """See `Cluster`."""
        options: Obj = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self._call("DELETE", kind.path(namespace, name), body=options)
        except NotFoundError:
            return

    async def read_log(self, namespace: str, pod: str, container: str) -> list[str]:
        """See `Cluster`."""
        return await read_log(self._api, namespace, pod, container)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: list[tuple[str, str]] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Obj:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            request = await self._api.param_serialize(
                method,
                path,
                query_params=query,
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await self._api.call_api(*request, _request_timeout=_TIMEOUT)
            raw = (await response.read()).decode("utf-8", "replace")
            self._set_clock(response.headers.get("Date"))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise UnavailableError(f"API server: {type(error).__name__}: {error}") from error
        except ApiException as error:
            raise error_from_status(error.status or 0, str(error.body or error.reason)) from error
        if not 200 <= response.status <= 299:
            raise error_from_status(response.status, raw)
        return _parse(raw)


def _parse(raw: str) -> Obj:
    try:
        parsed = json.loads(raw)
    except ValueError as error:
        raise UnavailableError(f"API server answered no JSON: {raw[:200]}") from error
    if not isinstance(parsed, dict):
        raise UnavailableError(f"API server answered no object: {raw[:200]}")
    return parsed


def _listed(kind: Kind, obj: Obj) -> Obj:
    """Return an item of a list: with what lists leave out, without what nobody reads and what is half of an object."""
    obj["metadata"].pop("managedFields", None)
    return _typed(kind, obj)


def _typed(kind: Kind, obj: Obj) -> Obj:
    return {"apiVersion": kind.api_version, "kind": kind.kind, **obj}


async def find(cluster: Cluster, kind: Kind, namespace: str | None, name: str) -> Obj | None:
    """Return the object, or None when there is none of that name."""
    try:
        return await cluster.get(kind, namespace, name)
    except NotFoundError:
        return None


__all__ = ["FIELD_MANAGER", "Cluster", "ClusterError", "KubernetesCluster", "Obj", "find"]
