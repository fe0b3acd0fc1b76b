"""REST called in the ways that its OpenAPI description allows, and in some that it does not."""

from __future__ import annotations

from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from tests.unit.gateway.rest.rig import FULL, NAMESPACE, RESTORED, application, backup, restore, running

from sendense_operator.gateway.rest.reserved_names import RESERVED_BACKUPS

AnyCase = Case[Any]
KNOWN: Final = {
    "namespace": NAMESPACE, "backup_id": FULL, "restore_id": RESTORED, "vm_context_id": "db01", "vm_name": "DB 01",
    "repository_id": "main",
}  # fmt: skip
"""What is there: hardly a made-up name would be."""
BOUNDS: Final = settings(
    max_examples=20, derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
"""The same calls each time, and no verdict by how busy the machine is."""


def _operations() -> dict[str, APIOperation[Any, Any, Any, Any]]:
    config = schemathesis.Config()
    config.projects.default.generation.update(with_security_parameters=False)
    schema = schemathesis.openapi.from_asgi("/openapi.json", application()[0], config=config)
    return {one.ok().label: one.ok() for one in schema.get_all_operations() if isinstance(one, Ok)}


OPERATIONS: Final = _operations()
PATHS: Final = sorted({operation.path for operation in OPERATIONS.values()})


def errors_as_the_old_clients_know_them(ctx: CheckContext, response: Response, case: AnyCase) -> None:
    """Never 422, which they don't know, and of each error the same three fields."""
    assert response.status_code != 422
    if response.status_code >= 400:
        assert set(response.json()) == {"error", "details", "timestamp"}


CHECKS: Final = [
    not_a_server_error,
    errors_as_the_old_clients_know_them,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def aim(case: AnyCase) -> None:
    """Replace the made-up names in a case by those that are there."""
    for part in (case.path_parameters, case.query, case.body):
        if isinstance(part, dict):
            part.update({name: KNOWN[name] for name in part.keys() & KNOWN.keys()})


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_described_is_answered_as_described(operation: str) -> None:
    app, _, _ = application(backup(), restores=[restore()])

    @BOUNDS
    @given(
        case=OPERATIONS[operation].as_strategy(generation_mode=GenerationMode.POSITIVE),
        known=st.booleans(),
        user=st.sampled_from(["admin", "admin", "admin", "reader", "wrong"]),
    )
    def call(case: AnyCase, known: bool, user: str) -> None:
        if known:
            aim(case)
        # such a path is another operation's
        assume(RESERVED_BACKUPS.isdisjoint((case.path_parameters or {}).values()))
        response = case.call(app=app, headers={"Authorization": f"Bearer {user}"})
        case.validate_response(response, checks=CHECKS)

    call()


@pytest.mark.parametrize("operation", [name for name, one in OPERATIONS.items() if len(one.query) or one.body])
def test_what_is_not_described_is_refused(operation: str) -> None:
    app, _, _ = application(backup(), restores=[restore()])

    @BOUNDS
    @given(case=OPERATIONS[operation].as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def call(case: AnyCase) -> None:
        response = case.call(app=app, headers={"Authorization": "Bearer admin"})
        case.validate_response(response, checks=[*CHECKS, negative_data_rejection])

    call()


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "TRACE", "BREW"])
async def test_other_methods_are_refused_in_the_same_words(method: str) -> None:
    async with running(backup()) as rig:
        for path in PATHS:
            answer = await rig.call(method, path.format_map(KNOWN))
            assert answer.status_code == httpx.codes.METHOD_NOT_ALLOWED
            assert set(answer.json()) == {"error", "details", "timestamp"}
            assert "allow" in answer.headers
