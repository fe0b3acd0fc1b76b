"""Reaching a VMA: its credentials and its CA from their Secrets. They go no further than the client."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import ForbiddenError
from sendense_operator.cluster.kinds import SECRET
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.context import Appliance, ReconcileContext, VCenterContext
from sendense_operator.reconcile.state.problem import Problem
from sendense_operator.vma.credentials import Credentials, CredentialsError, credentials_from_secret

MAX_TIMEOUT_S: Final = 120.0
"""Of one call: a reconcile must not hang on an appliance, whatever its spec allows."""


@dataclass(frozen=True)
class VMAConnection:
    """What is needed to call a VMA."""

    spec: VMwareApplianceSpec
    credentials: Credentials
    ca_bundle: str | None


async def read_connection(ctx: ReconcileContext, namespace: str, spec: VMwareApplianceSpec) -> VMAConnection | Problem:
    """Read the appliance's Secrets. A Problem names what is missing, never what is in them."""
    name = spec.vcenter.credentials_secret_ref.name
    data = await _secret(ctx, namespace, name)
    if isinstance(data, Problem):
        return data
    try:
        credentials = credentials_from_secret(data)
    except CredentialsError as error:
        return Problem("SecretInvalid", f"Secret {name}: {error}")
    if spec.tls is None:
        return VMAConnection(spec, credentials, None)
    reference = spec.tls.ca_secret_ref
    ca = await _secret(ctx, namespace, reference.name)
    if isinstance(ca, Problem):
        return ca
    if reference.key not in ca:
        return Problem("SecretInvalid", f"Secret {reference.name} has no key {reference.key} (the CA bundle)")
    return VMAConnection(spec, credentials, ca[reference.key].decode("ascii", "replace"))


@asynccontextmanager
async def opened(ctx: VCenterContext, access: VMAConnection, limit: float = MAX_TIMEOUT_S) -> AsyncIterator[Appliance]:
    """Open a client of the VMA, each call of which takes `limit` seconds at most.

    Raises ValueError when its URL or CA bundle can't be used.
    """
    timeout = min(float(access.spec.timeouts.request_seconds), limit)
    client = ctx.connect(access.spec.url, access.ca_bundle, timeout)
    try:
        yield client
    finally:
        await client.aclose()


async def _secret(ctx: ReconcileContext, namespace: str, name: str) -> dict[str, bytes] | Problem:
    try:
        secret = await find(ctx.cluster, SECRET, namespace, name)
    except ForbiddenError:
        return Problem("SecretForbidden", f"the operator may not read Secret {name} of namespace {namespace}")
    if secret is None:
        return Problem("SecretNotFound", f"there is no Secret {name} in namespace {namespace}")
    return _decoded(secret)


def _decoded(secret: Obj) -> dict[str, bytes]:
    try:
        return {key: base64.b64decode(value or "") for key, value in (secret.get("data") or {}).items()}
    except binascii.Error:
        return {}
