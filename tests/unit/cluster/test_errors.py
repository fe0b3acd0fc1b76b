"""The API server's errors, as callers see them."""

from __future__ import annotations

import json

import pytest

from sendense_operator.cluster.errors import (
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
    error_from_status,
)


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (404, "NotFound", NotFoundError),
        (410, "Expired", NotFoundError),
        (409, "Conflict", ConflictError),
        (409, "AlreadyExists", AlreadyExistsError),
        (403, "Forbidden", ForbiddenError),
        (405, "MethodNotAllowed", ForbiddenError),
        (422, "Invalid", InvalidError),
        (400, "BadRequest", InvalidError),
        (401, "Unauthorized", UnavailableError),
        (429, "TooManyRequests", UnavailableError),
        (500, "InternalError", UnavailableError),
        (503, "ServiceUnavailable", UnavailableError),
        (504, "Timeout", UnavailableError),
    ],
)
def test_each_status_has_its_error(status: int, reason: str, expected: type[ClusterError]) -> None:
    error = error_from_status(status, json.dumps({"kind": "Status", "reason": reason, "message": "spec.size: too big"}))
    assert type(error) is expected
    assert "spec.size: too big" in str(error)


def test_a_namespace_that_is_being_terminated() -> None:
    body = {"reason": "Forbidden", "message": "m", "details": {"causes": [{"reason": "NamespaceTerminating"}]}}
    error = error_from_status(403, json.dumps(body))
    assert isinstance(error, ForbiddenError)
    assert error.terminating


@pytest.mark.parametrize("status", [403, 405])
@pytest.mark.parametrize(
    ("message", "terminating"),
    [
        ("create not allowed while custom resource definition is terminating", True),
        ("the server does not allow this method on the requested resource", False),
    ],
)
def test_a_definition_that_is_being_terminated(status: int, message: str, terminating: bool) -> None:
    error = error_from_status(status, json.dumps({"reason": "MethodNotAllowed", "message": message}))
    assert isinstance(error, ForbiddenError)
    assert error.terminating is terminating


@pytest.mark.parametrize("body", ["", "<html>bad gateway</html>", "[]", "null", "7", '{"details": null}'])
def test_what_a_proxy_answers_is_survived(body: str) -> None:
    assert isinstance(error_from_status(502, body), UnavailableError)


def test_a_long_page_is_cut() -> None:
    assert len(str(error_from_status(500, "x" * 10_000))) < 600
