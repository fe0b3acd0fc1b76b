"""Who a caller is, what it may do, and calls in its name: all three decided by the API server.

The gateway never impersonates: what is written goes with the caller's own token, so that a mistake here can't give
anybody a right that the cluster does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, Self

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from sendense_operator.cluster.api_client import Cluster, KubernetesCluster
from sendense_operator.cluster.errors import ClusterError, ForbiddenError, UnavailableError
from sendense_operator.cluster.kinds import Kind
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.ttl_cache import Briefly

TOKEN_REVIEW: Final = Kind("authentication.k8s.io/v1", "TokenReview", "tokenreviews", namespaced=False)
ACCESS_REVIEW: Final = Kind("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews", namespaced=False)
FIELD_MANAGER: Final = "sendense-api"
_TRUST: Final = (
    "host",
    "verify_ssl",
    "ssl_ca_cert",
    "ca_cert_data",
    "disable_strict_ssl_verification",
    "tls_server_name",
    "assert_hostname",
    "proxy",
    "proxy_headers",
)
"""Settings that say where the API server is and how it is known, and nothing about who calls."""


class UnauthenticatedError(ClusterError):
    """The API server doesn't know the token, or not any more."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A user as the API server names it."""

    user: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def from_review(cls, user: Mapping[str, Any]) -> Self:
        """From a TokenReview's `status.user`."""
        return cls(
            user=str(user.get("username") or ""),
            uid=str(user.get("uid") or ""),
            groups=tuple(user.get("groups") or ()),
            extra=tuple((key, tuple(values)) for key, values in sorted((user.get("extra") or {}).items())),
        )


class Authorizer(Protocol):
    """What the REST listener asks about its callers. All methods raise `ClusterError` and nothing else."""

    async def authenticate(self, token: str) -> Caller:
        """Whose token it is. Raises UnauthenticatedError."""
        ...

    async def may(self, caller: Caller, verb: str, kind: Kind, namespace: str, name: str = "") -> bool:
        """Return whether the caller has the right in that namespace, for all objects of the kind or only `name`."""
        ...

    def act_with(self, token: str) -> Cluster:
        """Return the API server as the token's owner sees it. Its methods raise UnauthenticatedError too."""
        ...


class KubernetesAuthorizer:
    """`Authorizer` by TokenReview and SubjectAccessReview; both answers are kept for `keep_s` seconds. Close it."""

    def __init__(self, api: ApiClient, keep_s: float) -> None:
        self._cluster = KubernetesCluster(api)
        self._anonymous = _without_credentials(api.configuration)
        self._callers: Briefly[bytes, Caller | None] = Briefly(keep_s)
        self._rights: Briefly[tuple[Caller, str, Kind, str, str], bool] = Briefly(keep_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._anonymous.close()

    async def authenticate(self, token: str) -> Caller:
        """See `Authorizer`."""
        # no token stays in memory longer than its request
        key = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        caller = await self._callers.get(key, lambda: self._review(token))
        if caller is None:
            raise UnauthenticatedError("the token is not valid")
        return caller

    async def may(self, caller: Caller, verb: str, kind: Kind, namespace: str, name: str = "") -> bool:
        """See `Authorizer`."""
        # first for all objects: who has the right for all, as most have, is asked about once and not for each of them
        for which in dict.fromkeys(("", name)):
            key = (caller, verb, kind, namespace, which)
            if await self._rights.get(key, partial(self._ask_right, *key)):
                return True
        return False

    def act_with(self, token: str) -> Cluster:
        """See `Authorizer`."""
        api: Any = _WithToken(self._anonymous, token)
        return KubernetesCluster(api, manager=FIELD_MANAGER)

    async def _review(self, token: str) -> Caller | None:
        answer = await self._ask(TOKEN_REVIEW, {"token": token})
        if answer.get("authenticated") is not True:
            return None
        caller = Caller.from_review(answer.get("user") or {})
        return caller if caller.user else None

    async def _ask_right(self, caller: Caller, verb: str, kind: Kind, namespace: str, name: str) -> bool:
        group, _, _ = kind.api_version.rpartition("/")
        spec = {
            "user": caller.user,
            "uid": caller.uid,
            "groups": list(caller.groups),
            "extra": {key: list(values) for key, values in caller.extra},
            "resourceAttributes": {
                "namespace": namespace,
                "verb": verb,
                "group": group,
                "resource": kind.plural,
                **({"name": name} if name else {}),
            },
        }
        answer = await self._ask(ACCESS_REVIEW, spec)
        return answer.get("allowed") is True and answer.get("denied") is not True

    async def _ask(self, kind: Kind, spec: Obj) -> Obj:
        try:
            review = await self._cluster.create(kind, {"metadata": {}, "spec": spec})
        except ForbiddenError as error:
            # the gateway's own right, not the caller's
            raise UnavailableError(f"the gateway lacks a right: {error}") from error
        return review.get("status") or {}


class _WithToken:
    """The methods of ApiClient that KubernetesCluster calls, with somebody's token."""

    def __init__(self, api: Any, token: str) -> None:
        self._api = api
        self._authorization = f"Bearer {token}"

    async def param_serialize(self, *path: str, header_params: dict[str, str], auth_settings: Any, **more: Any) -> Any:
        headers = {**header_params, "Authorization": self._authorization}
        return await self._api.param_serialize(*path, header_params=headers, auth_settings=[], **more)

    async def call_api(self, *request: Any, **options: Any) -> Any:
        answer = await self._api.call_api(*request, **options)
        if answer.status == 401:
            raise UnauthenticatedError("the token is not valid any more")
        return answer


def _without_credentials(configuration: Any) -> Any:
    """Return a client of the same API server that is nobody: a client certificate would win over a caller's token."""
    plain: Any = Configuration()
    for name in _TRUST:
        setattr(plain, name, getattr(configuration, name))
    plain.client_session_kwargs = {"cookie_jar": aiohttp.DummyCookieJar()}
    return ApiClient(plain)
