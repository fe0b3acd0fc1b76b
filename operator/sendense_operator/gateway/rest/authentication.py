"""Who calls: the bearer token, and what its owner may do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.authorization import Authorizer, Caller
from sendense_operator.cluster.kinds import Kind
from sendense_operator.gateway.rest.errors import RestError

MAX_TOKEN: Final = 32 * 1024
_BEARER = re.compile(r"bearer +([-A-Za-z0-9._~+/]+=*) *", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Right:
    """A verb, and what it is done to: all objects of a kind, or the one of that name."""

    verb: str
    kind: Kind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.kind.plural}"


@dataclass(frozen=True, slots=True)
class Session:
    """One call's caller."""

    caller: Caller
    token: str

    def __repr__(self) -> str:
        return f"Session({self.caller.user})"


def bearer_token(headers: Mapping[str, str]) -> str:
    """Return the token of an Authorization header. Raises RestError (401)."""
    header = headers.get("authorization", "")
    if not header:
        raise RestError(401, "unauthorized", "give your Kubernetes token: Authorization: Bearer TOKEN")
    found = _BEARER.fullmatch(header) if len(header) <= MAX_TOKEN else None
    if found is None:
        raise RestError(401, "unauthorized", "the Authorization header must be: Bearer TOKEN")
    return found[1]


async def require(access: Authorizer, caller: Caller, namespace: str, rights: tuple[Right, ...]) -> None:
    """Check all the rights at once. Raises RestError (403) with the first that is missing, and ClusterError."""
    # a name that no object can have is neither asked about nor remembered
    asked = [(right, right.name if names.is_object_name(right.name) else "") for right in rights]
    granted = await asyncio.gather(*(access.may(caller, one.verb, one.kind, namespace, name) for one, name in asked))
    for right, allowed in zip(rights, granted, strict=True):
        if not allowed:
            raise RestError(403, "forbidden", f"{caller.user} may not {right} in namespace {namespace}")
