"""Errors of the API server, translated once.

Callers see only these; each carries the API server's message, which never holds a credential because none is
ever sent to it. The one exception, the certificate's keys, is why controller/certificate_renewal.py leaves the message
of an InvalidError out.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

_DEFINITION_GOES: Final = "custom resource definition is terminating"


class ClusterError(Exception):
    """The API server did not do what was asked."""


class NotFoundError(ClusterError):
    """No such object (or its kind is not served)."""


class ConflictError(ClusterError):
    """The object changed since it was read."""


class AlreadyExistsError(ConflictError):
    """Something with that name is there: to be adopted."""


class ForbiddenError(ClusterError):
    """RBAC, Pod Security, a quota, or a namespace or definition that is being terminated refuses."""

    def __init__(self, message: str, *, terminating: bool = False) -> None:
        super().__init__(message)
        self.terminating = terminating
        """The namespace, or the kind's definition, is being deleted: nothing can be created in it any more."""


class InvalidError(ClusterError):
    """The object breaks its schema or a rule of it; the message names the field."""


class KubeconfigError(ClusterError):
    """The kubeconfig names no API server, or nothing that can be used of it; the message says what."""


class UnavailableError(ClusterError):
    """The API server could not be reached, or is not able to answer now: try again later."""


def error_from_status(status: int, body: str) -> ClusterError:
    """Return the error for an HTTP status outside 2xx and its body (a `Status` object, or anything at all)."""
    reason, message, causes = _read_status(body)
    match status:
        case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
            return NotFoundError(message)
        case HTTPStatus.CONFLICT:
            return AlreadyExistsError(message) if reason == "AlreadyExists" else ConflictError(message)
        # 405: what a kind answers whose definition is being deleted. Nothing but its words tells why.
        case HTTPStatus.FORBIDDEN | HTTPStatus.METHOD_NOT_ALLOWED:
            terminating = "NamespaceTerminating" in causes or _DEFINITION_GOES in message
            return ForbiddenError(message, terminating=terminating)
        case HTTPStatus.BAD_REQUEST | HTTPStatus.UNPROCESSABLE_ENTITY:
            return InvalidError(message)
        case _:
            # 401 too: a token being rotated looks like that for a moment.
            return UnavailableError(f"HTTP {status}: {message}")


def _read_status(body: str) -> tuple[str, str, set[str]]:
    """Return reason, message and the causes' reasons of a `Status` object; tolerant of proxies' own pages."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return "", body[:500], set()
    if not isinstance(parsed, dict):
        return "", body[:500], set()
    details = parsed.get("details") or {}
    causes = {str(cause.get("reason", "")) for cause in details.get("causes") or []}
    return str(parsed.get("reason", "")), str(parsed.get("message", ""))[:2000], causes
