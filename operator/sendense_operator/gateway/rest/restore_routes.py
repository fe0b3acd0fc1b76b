"""The paths of Restores. Thin, as `routes` is."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query, Request
from starlette.responses import Response

from sendense_operator.gateway.rest import restore_schemas
from sendense_operator.gateway.rest.answers import (
    Limit,
    Offset,
    Repository,
    RestoreID,
    State,
    VMContextID,
    VMName,
    json_answer,
    list_answer,
)
from sendense_operator.gateway.rest.filters import RestoreFilter, window
from sendense_operator.gateway.rest.openapi import Operation
from sendense_operator.gateway.rest.request_context import (
    CurrentSession,
    RestoreBody,
    namespace_of,
    restores_of,
    set_target,
)
from sendense_operator.gateway.rest.reserved_names import RESERVED_RESTORES, check_id
from sendense_operator.views.backup_view import COMPLETED, FAILED
from sendense_operator.views.cached_objects import encode

_DELETIONS: Final = {
    COMPLETED: "what it wrote to claims stays",
    FAILED: "claims that it made are removed",
}
"""What else goes, by the state of the Restore."""
_STOPPED: Final = "it is stopped; its unfinished images and claims that it made are removed"


async def start(request: Request, caller: CurrentSession, wanted: RestoreBody) -> Response:
    """Create a Restore."""
    set_target(request, wanted.restore_id or wanted.backup_id or wanted.vm_context_id or wanted.vm_name or "")
    record = await restores_of(request).start(caller, namespace_of(request), wanted)
    set_target(request, record.name)
    return json_answer(record.body, 202)


async def list_restores(
    request: Request,
    caller: CurrentSession,
    vm_name: VMName = "",
    vm_context_id: VMContextID = "",
    repository_id: Repository = "",
    status: State = "",
    backup_id: Annotated[str, Query(description="Name of the Backup.")] = "",
    limit: Limit = None,
    offset: Offset = 0,
) -> Response:
    """List Restores."""
    wanted = RestoreFilter(vm_name, vm_context_id, repository_id, status, backup_id)
    found = await restores_of(request).select(caller, namespace_of(request), wanted)
    return list_answer("restores", window(found, limit, offset), len(found))


async def get(request: Request, caller: CurrentSession, restore_id: RestoreID) -> Response:
    """Show a Restore."""
    check_id("restore_id", restore_id, RESERVED_RESTORES)
    return json_answer((await restores_of(request).get(caller, namespace_of(request), restore_id)).body, 200)


async def delete(request: Request, caller: CurrentSession, restore_id: RestoreID) -> Response:
    """Delete a Restore."""
    check_id("restore_id", restore_id, RESERVED_RESTORES)
    gone, restore = await restores_of(request).delete(caller, namespace_of(request), restore_id)
    answer = {
        "restore_id": restore_id,
        "status": "deleted" if gone else "deleting",
        "message": _DELETIONS.get(restore.status, _STOPPED),
    }
    return json_answer(encode(answer), 200 if gone else 202)


ROUTES: Final = (
    (
        "/restore/start",
        start,
        Operation(
            "restore_start", "POST", 202, restore_schemas.Restore, (400, 401, 403, 404, 409, 429, 503),
            restore_schemas.RestoreRequest,
        ),
    ),
    (
        "/restore/list",
        list_restores,
        Operation("restore_list", "GET", 200, restore_schemas.RestoreList, (400, 401, 403, 404, 429, 503)),
    ),
    # after the words above, so that none of them is taken for an id
    (
        "/restore/{restore_id}",
        get,
        Operation("restore_get", "GET", 200, restore_schemas.Restore, (401, 403, 404, 405, 429, 503)),
    ),
    (
        "/restore/{restore_id}",
        delete,
        Operation(
            "restore_delete", "DELETE", 202, restore_schemas.RestoreDeletion, (200, 401, 403, 404, 405, 409, 429, 503)
        ),
    ),
)  # fmt: skip
