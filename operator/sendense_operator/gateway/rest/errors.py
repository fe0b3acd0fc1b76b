"""Every error as the old clients know it: `{"error", "details", "timestamp"}`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from sendense_operator.cluster.authorization import UnauthenticatedError
from sendense_operator.cluster.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from sendense_operator.gateway.rest import schemas

RETRY_AFTER_S: Final = 5
_DETAILS: Final = 2000


class RestError(Exception):
    """A call is answered with `status`; `error` says what is wrong, `details` what more is known."""

    def __init__(self, status: int, error: str, details: str = "") -> None:
        super().__init__(f"{error}: {details}" if details else error)
        self.status = status
        self.error = error
        self.details = details


def error_body(error: str, details: str, now: datetime | None = None) -> dict[str, str]:
    """Return the JSON of an error."""
    stamp = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"error": error, "details": details[:_DETAILS], "timestamp": stamp}


def headers_of(status: int) -> dict[str, str]:
    """Return what goes with an answer of that status."""
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return {"WWW-Authenticate": "Bearer"}
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return {"Retry-After": str(RETRY_AFTER_S)}
        case HTTPStatus.TOO_MANY_REQUESTS:
            return {"Retry-After": "1"}
        case _:
            return {}


def unavailable(details: str) -> RestError:
    """Return the answer for a Kubernetes API that is away or whose data is stale."""
    return RestError(503, "the Kubernetes API is not available", details)


def from_cluster(error: ClusterError) -> RestError:
    """Return what the API server refused, in the words of HTTP."""
    match error:
        case UnauthenticatedError():
            return RestError(401, "unauthorized", str(error))
        case ForbiddenError():
            return RestError(403, "forbidden", str(error))
        case NotFoundError():
            return RestError(404, "not found", str(error))
        case ConflictError():
            return RestError(409, "conflict", str(error))
        case InvalidError():
            return RestError(400, "the cluster does not accept this", str(error))
        case UnavailableError():
            return unavailable(str(error))
        case _:
            return RestError(500, "internal error")


def from_validation(errors: Sequence[Mapping[str, Any]]) -> RestError:
    """Return what pydantic found in the former system's words: `error` has the first, `details` all of several."""
    found = list(dict.fromkeys(_sentence(error) for error in errors))
    return RestError(400, found[0], "; ".join(found) if len(found) > 1 else "")


def _sentence(error: Mapping[str, Any]) -> str:
    where = [str(part) for part in error["loc"] if part not in ("query", "path", "header", "body")]
    name = ".".join(where) or "body"
    bounds = error.get("ctx") or {}
    match error["type"]:
        case schemas.SENTENCE:
            return str(error["msg"])
        case "missing" | "string_too_short":
            return f"{name} is required"
        case "int_type" | "int_parsing" | "int_parsing_size" | "int_from_float":
            return f"{name} must be an integer"
        case "string_type":
            return f"{name} must be a string"
        case "too_short":
            return f"{name} must not be empty"
        case "bool_type":
            return f"{name} must be true or false"
        case "list_type":
            return f"{name} must be a list"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"{name} must be an object"
        case "literal_error" | "enum":
            return f"{name} must be one of: {bounds['expected']}".replace("'", "").replace(" or ", ", ")
        case "greater_than_equal":
            return f"{name} must be at least {bounds['ge']}"
        case "less_than" | "less_than_equal":
            return f"{name} must be at most {bounds['le'] if 'le' in bounds else bounds['lt'] - 1}"
        case "string_too_long" | "too_long":
            return f"{name} is longer than {bounds['max_length']}"
        case "string_pattern_mismatch":
            return f"{name} must match {bounds['pattern']}"
        case _:
            return f"{name}: {error['msg']}"
