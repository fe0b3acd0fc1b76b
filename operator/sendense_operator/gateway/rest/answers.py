"""What the endpoints of Backups and those of Restores share: parameters, and answers as they are sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from sendense_operator.gateway.rest.filters import STATES
from sendense_operator.gateway.rest.openapi import PARAMETERS
from sendense_operator.gateway.rest.request_context import DECIMAL
from sendense_operator.views.cached_objects import CachedRun

_MAX_WINDOW: Final = 1_000_000
_CHUNK: Final = 200
"""Records that are sent at once: a long list is not put together in memory."""
_NO_STORE: Final = {"Cache-Control": "no-store"}

_Count = Annotated[int, Field(ge=0, le=_MAX_WINDOW), DECIMAL]
Limit = Annotated[_Count | None, Query(description="At most so many; left out: all.")]
Offset = Annotated[_Count, Query(description="After so many.")]
BackupID = Annotated[str, Path(description="Name of the Backup.", openapi_examples=PARAMETERS["backup_id"])]
RestoreID = Annotated[str, Path(description="Name of the Restore.", openapi_examples=PARAMETERS["restore_id"])]
VMContextID = Annotated[
    str, Query(description="Name of the ProtectedVM.", openapi_examples=PARAMETERS["vm_context_id"])
]
VMName = Annotated[str, Query(description="Name in vCenter, or of the ProtectedVM.")]
OneVMName = Annotated[str, Query(description="Name in vCenter, else of the ProtectedVM; 409 when there are several.")]
Repository = Annotated[str, Query(description="Name of the BackupRepository.")]
State = Annotated[str, Query(description="Empty: any.", json_schema_extra={"enum": ["", *STATES]})]


def json_answer(body: bytes, status: int) -> Response:
    """Return an answer with a body that is encoded already."""
    return Response(body, status, _NO_STORE, "application/json")


def list_answer(name: str, records: Sequence[CachedRun], total: int) -> Response:
    """Return the records as the field `name`, and how many there are in total."""
    head, tail = b'{"%s":[' % name.encode(), b'],"total":%d}' % total
    if len(records) <= _CHUNK:
        return json_answer(head + b",".join(record.body for record in records) + tail, 200)
    return StreamingResponse(_chunks(head, records, tail), 200, _NO_STORE, "application/json")


async def _chunks(head: bytes, records: Sequence[CachedRun], tail: bytes) -> AsyncIterator[bytes]:
    yield head
    for start in range(0, len(records), _CHUNK):
        separator = b"," if start else b""
        yield separator + b",".join(record.body for record in records[start : start + _CHUNK])
    yield tail
