"""Parsing of what the VMA's callbacks carry: bodies and the disk index of a request. No I/O."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_BODY: Final = 64 * 1024
"""Largest body of a callback, in bytes."""

_Body = TypeVar("_Body", bound=BaseModel)
_CHANGE_ID: Final = r"^[ -~]{0,200}$"


class CallbackRefused(Exception):  # noqa: N818 - says what happened
    """A callback that is answered with `status` (4xx). The text names the field and quotes no input."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


class CompleteBody(BaseModel):
    """Body of a completion call (vma-contract 3.6)."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    change_id: Annotated[str, Field(pattern=_CHANGE_ID)]
    """Printable ASCII, normally `X/Y`: X, a UUID with blanks, identifies the disk's tracking, and Y is a counter.

    A text of another form is kept too: an increment cannot begin there, but this backup is not affected.
    """
    disk_id: Annotated[int, Field(ge=0, le=9999)]
    """Disk index, the N of the export's name."""
    bytes_transferred: Annotated[int, Field(ge=0)] = 0
    """Always 0 in the field, therefore not used."""


class TelemetryBody(BaseModel):
    """Body of a telemetry call: an object, none of whose fields is used."""

    model_config = ConfigDict(extra="ignore")


def parse_complete(body: bytes) -> CompleteBody:
    """Return the body of a completion call. Raise CallbackRefused (413, 400) if it is too large or not valid."""
    return _parse(CompleteBody, body)


def check_telemetry(body: bytes) -> None:
    """Raise CallbackRefused (413, 400) if a telemetry body is too large or not a JSON object."""
    _parse(TelemetryBody, body)


def parse_disk_id(disk_id: str) -> int:
    """Return the disk index of a change-ID request. Raise CallbackRefused (400) if it is not one."""
    if not (disk_id.isascii() and disk_id.isdigit() and len(disk_id) <= 4):
        raise CallbackRefused(400, "disk_id: not a disk index")
    return int(disk_id)


def _parse(model: type[_Body], body: bytes) -> _Body:
    if len(body) > MAX_BODY:
        raise CallbackRefused(413, f"body: larger than {MAX_BODY} bytes")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise CallbackRefused(400, f"{where}: {first['msg']}") from None
