"""The key of a Restore's NBD exports, in a Secret that is deleted with the Restore."""

from __future__ import annotations

import base64
import secrets
from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import AlreadyExistsError
from sendense_operator.cluster.kinds import SECRET
from sendense_operator.cluster.object_names import tls_secret_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.restores.restore_status import ObservedRestore
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.kubernetes_objects import is_owned_by, owner_ref
from sendense_operator.reconcile.state.problem import Problem
from sendense_operator.restore_task import TLS_KEYS, TLS_USER

_KEY_BYTES: Final = 32


def key_secret_name(restore: ObservedRestore) -> str:
    """Return the name of the Secret."""
    return tls_secret_name(restore.name, restore.uid)


def build_key_secret(restore: ObservedRestore) -> Obj:
    """Return the Secret with a new key, as GnuTLS reads it. It is immutable: pods and clients read it at any time."""
    line = f"{TLS_USER}:{secrets.token_hex(_KEY_BYTES)}\n"
    return {
        "metadata": {
            "namespace": restore.namespace,
            "name": key_secret_name(restore),
            "labels": {names.LABEL_RESTORE: restore.name, names.LABEL_COMPONENT: names.COMPONENT_RESTORE},
            "ownerReferences": [owner_ref(restore.obj)],
        },
        "type": "Opaque",
        "immutable": True,
        "data": {TLS_KEYS: base64.b64encode(line.encode()).decode()},
    }


async def ensure_key(ctx: ReconcileContext, restore: ObservedRestore) -> Problem | None:
    """Create the Secret unless it exists; one that somebody else made is a problem. Raises ClusterError."""
    try:
        await ctx.cluster.create(SECRET, build_key_secret(restore))
    except AlreadyExistsError:
        name = key_secret_name(restore)
        found = await find(ctx.cluster, SECRET, restore.namespace, name)
        if found is None or not is_owned_by(found, restore.obj):
            text = f"Secret {name}, which is for the key of the export, was not made by this Restore: delete it"
            return Problem("SecretNameTaken", text)
    return None
