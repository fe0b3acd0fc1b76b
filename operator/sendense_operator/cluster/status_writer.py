"""Writing status subresources and finalizers: only when something changed, only on the object that was read."""

from __future__ import annotations

from collections.abc import Sequence

from sendense_operator.api.v1alpha1.base import Status
from sendense_operator.cluster.api_client import Cluster
from sendense_operator.cluster.errors import ConflictError, InvalidError
from sendense_operator.cluster.kinds import Kind
from sendense_operator.cluster.objects import Obj


async def write_status(cluster: Cluster, kind: Kind, obj: Obj, status: Status, *, unchanged: bool = False) -> bool:
    """Apply `status` to `obj` unless it says so already; tells whether it was written.

    The whole status belongs to this program: a field that is left out is removed. The UID goes along, so that
    an object of the same name made in the meantime is a ConflictError. With `unchanged` one that was written since
    `obj` was read is, too.
    """
    current = obj.get("status") or {}
    # Compared as models: the stored one may hold defaults that the schema added.
    if current and type(status).model_validate(current) == status:
        return False
    fields = ("namespace", "name", "uid", *(("resourceVersion",) if unchanged else ()))
    meta = {field: obj["metadata"][field] for field in fields}
    await cluster.apply(kind, {"metadata": meta, "status": status.to_dict()}, subresource="status")
    return True


def has_finalizer(obj: Obj, finalizer: str) -> bool:
    """Return whether the object holds that finalizer."""
    return finalizer in (obj["metadata"].get("finalizers") or [])


async def add_finalizers(cluster: Cluster, kind: Kind, obj: Obj, *finalizers: str) -> Obj:
    """See `change_finalizers`. ConflictError too when the object is being deleted."""
    return await change_finalizers(cluster, kind, obj, add=finalizers)


async def remove_finalizers(cluster: Cluster, kind: Kind, obj: Obj, *finalizers: str) -> Obj:
    """See `change_finalizers`."""
    return await change_finalizers(cluster, kind, obj, remove=finalizers)


async def change_finalizers(
    cluster: Cluster, kind: Kind, obj: Obj, *, add: Sequence[str] = (), remove: Sequence[str] = ()
) -> Obj:
    """Return the object with and without these finalizers, by one write or none.

    ConflictError when it changed since it was read.
    """
    present: list[str] = obj["metadata"].get("finalizers") or []
    wanted = [name for name in present if name not in remove]
    wanted += [name for name in add if name not in present]
    return obj if wanted == present else await _set_finalizers(cluster, kind, obj, wanted)


async def _set_finalizers(cluster: Cluster, kind: Kind, obj: Obj, finalizers: list[str]) -> Obj:
    meta = obj["metadata"]
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": meta["uid"]},
        {"op": "test", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]},
        {"op": "add", "path": "/metadata/finalizers", "value": finalizers},
    ]
    try:
        return await cluster.json_patch(kind, meta["namespace"], meta["name"], patch)
    except InvalidError as error:
        # A failed `test` and a finalizer added to an object that is being deleted come as 422.
        raise ConflictError(str(error)) from error
