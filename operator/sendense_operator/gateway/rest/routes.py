"""The paths. Thin: parameters in, one method of the Service, JSON out."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from sendense_operator.api.v1alpha1.base import MAX_DISKS
from sendense_operator.gateway.rest import restore_routes, schemas
from sendense_operator.gateway.rest.answers import (
    BackupID,
    Limit,
    Offset,
    OneVMName,
    Repository,
    State,
    VMContextID,
    VMName,
    json_answer,
    list_answer,
)
from sendense_operator.gateway.rest.filters import TYPES, BackupFilter, window
from sendense_operator.gateway.rest.openapi import IN_NAMESPACE, Operation, answers, body_of
from sendense_operator.gateway.rest.request_context import (
    DECIMAL,
    ConsolidateBody,
    CurrentSession,
    StartBody,
    default_namespace,
    named_namespace,
    named_operation,
    namespace_of,
    service_of,
    set_target,
)
from sendense_operator.gateway.rest.reserved_names import RESERVED_BACKUPS, check_id
from sendense_operator.views.cached_objects import encode


def build_router(*, in_namespace: bool) -> APIRouter:
    """Return all endpoints, below the plain paths or below those that name per namespace."""
    router = APIRouter(
        prefix="/api/v1/namespaces/{namespace}" if in_namespace else "/api/v1",
        tags=["in a namespace" if in_namespace else "in the default namespace"],
        dependencies=[Depends(named_namespace if in_namespace else default_namespace)],
        default_response_class=Response,
    )
    suffix = IN_NAMESPACE if in_namespace else ""
    for path, handler, operation in (*_ROUTES, *restore_routes.ROUTES):
        router.add_api_route(
            path,
            handler,
            methods=[operation.method],
            status_code=operation.status,
            operation_id=operation.name + suffix,
            description=operation.text,
            # before everything that may refuse the call
            dependencies=[Depends(named_operation(operation.name))],
            responses=answers(operation),
            openapi_extra=body_of(operation),
        )
    return router


async def start(request: Request, caller: CurrentSession, wanted: StartBody) -> Response:
    """Create a Backup."""
    set_target(request, wanted.backup_id or wanted.vm_context_id or wanted.vm_name or "")
    record = await service_of(request).start(caller, namespace_of(request), wanted)
    set_target(request, record.name)
    return json_answer(record.body, 202)


async def list_backups(
    request: Request,
    caller: CurrentSession,
    vm_name: VMName = "",
    vm_context_id: VMContextID = "",
    repository_id: Repository = "",
    status: State = "",
    backup_type: Annotated[str, Query(description="Empty: any.", json_schema_extra={"enum": ["", *TYPES]})] = "",
    limit: Limit = None,
    offset: Offset = 0,
) -> Response:
    """List Backups."""
    wanted = BackupFilter(vm_name, vm_context_id, repository_id, status, backup_type)
    found = await service_of(request).select(caller, namespace_of(request), wanted)
    return list_answer("backups", window(found, limit, offset), len(found))


async def chain(
    request: Request,
    caller: CurrentSession,
    vm_context_id: VMContextID = "",
    vm_name: OneVMName = "",
    repository_id: Annotated[str, Query(description="Where the VM has chains in several.")] = "",
    disk_id: Annotated[int, Query(ge=0, lt=MAX_DISKS, description="Position of the disk."), DECIMAL] = 0,
) -> Response:
    """Show the chain of a VM's disk."""
    body = await service_of(request).chain(
        caller, namespace_of(request), vm_context_id, vm_name, repository_id, disk_id
    )
    return json_answer(body, 200)


async def consolidate(request: Request, caller: CurrentSession, wanted: ConsolidateBody) -> Response:
    """Request that the layers of a chain be merged."""
    set_target(request, wanted.vm_context_id or wanted.vm_name or "")
    return json_answer(encode(await service_of(request).consolidate(caller, namespace_of(request), wanted)), 202)


async def vms(request: Request, caller: CurrentSession, limit: Limit = None, offset: Offset = 0) -> Response:
    """List VMs."""
    found = await service_of(request).vms(caller, namespace_of(request))
    return json_answer(encode({"vms": window(found, limit, offset), "total": len(found)}), 200)


async def get(request: Request, caller: CurrentSession, backup_id: BackupID) -> Response:
    """Show a Backup."""
    check_id("backup_id", backup_id, RESERVED_BACKUPS)
    return json_answer((await service_of(request).get(caller, namespace_of(request), backup_id)).body, 200)


async def delete(request: Request, caller: CurrentSession, backup_id: BackupID) -> Response:
    """Delete a Backup."""
    check_id("backup_id", backup_id, RESERVED_BACKUPS)
    gone, freed = await service_of(request).delete(caller, namespace_of(request), backup_id)
    answer = {
        "backup_id": backup_id,
        "status": "deleted" if gone else "deleting",
        "message": freed.message,
        "freed_bytes": freed.bytes,
        "files": freed.files,
        "needed_by": freed.needed_by,
    }
    return json_answer(encode(answer), 200 if gone else 202)


_ROUTES: Final = (
    (
        "/backup/start",
        start,
        Operation("start", "POST", 202, schemas.Backup, (400, 401, 403, 404, 409, 429, 503), schemas.StartRequest),
    ),
    ("/backup/list", list_backups, Operation("list", "GET", 200, schemas.BackupList, (400, 401, 403, 404, 429, 503))),
    ("/backup/chain", chain, Operation("chain", "GET", 200, schemas.Chain, (400, 401, 403, 404, 409, 429, 503))),
    (
        "/backup/consolidate",
        consolidate,
        Operation(
            "consolidate",
            "POST",
            202,
            schemas.ConsolidationStart,
            (400, 401, 403, 404, 409, 429, 503),
            schemas.ConsolidateRequest,
        ),
    ),
    ("/vms", vms, Operation("vms", "GET", 200, schemas.VMList, (400, 401, 403, 404, 429, 503))),
    # after the words above, so that none of them is taken for an id
    ("/backup/{backup_id}", get, Operation("get", "GET", 200, schemas.Backup, (401, 403, 404, 405, 429, 503))),
    (
        "/backup/{backup_id}",
        delete,
        Operation("delete", "DELETE", 202, schemas.Deletion, (200, 401, 403, 404, 405, 409, 429, 503)),
    ),
)
