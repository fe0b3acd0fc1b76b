"""What of a request every path needs: who calls, in which namespace, and a start's body."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Annotated, Final, TypeVar

from fastapi import Depends, Path, Request
from fastapi.security import HTTPBearer
from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic_core import PydanticCustomError

from sendense_operator.gateway.request_body import BodyTooLargeError, read_body
from sendense_operator.gateway.rest.authentication import Session, bearer_token
from sendense_operator.gateway.rest.errors import RestError, from_validation
from sendense_operator.gateway.rest.middleware import audit_of
from sendense_operator.gateway.rest.openapi import PARAMETERS
from sendense_operator.gateway.rest.restore_schemas import RestoreRequest
from sendense_operator.gateway.rest.restore_service import RestoreService
from sendense_operator.gateway.rest.schemas import ConsolidateRequest, StartRequest
from sendense_operator.gateway.rest.service import Service
from sendense_operator.gateway.rest.user_limits import UserLimits

MAX_BODY: Final = 64 * 1024
_BODY_S: Final = 30.0
_MAX_TARGET: Final = 200
_DIGITS: Final = re.compile(r"-?[0-9]+")
_IDS: Final = ("backup_id", "restore_id")
"""Parameters of paths that name what the call is about."""
_M = TypeVar("_M", bound=BaseModel)

_DOCUMENTED: Final = HTTPBearer(
    auto_error=False, scheme_name="KubernetesToken", description="A token that the Kubernetes API server knows."
)


def service_of(request: Request) -> Service:
    """Return the application's service."""
    service: Service = request.app.state.service
    return service


def restores_of(request: Request) -> RestoreService:
    """Return the application's service of Restores."""
    service: RestoreService = request.app.state.restores
    return service


def named_operation(operation: str) -> Callable[[Request], None]:
    """Return a dependency that tells the audit what was asked for, whatever becomes of it."""

    def name(request: Request) -> None:
        audit_of(request.scope).operation = operation
        found = (*map(request.path_params.get, _IDS), *map(request.query_params.get, ("vm_context_id", "vm_name")))
        set_target(request, next((one for one in found if one), ""))

    return name


def set_target(request: Request, target: str) -> None:
    """Tell the audit what the call is about: a backup, a restore, a VM."""
    audit_of(request.scope).target = target[:_MAX_TARGET] or None


def default_namespace(request: Request) -> None:
    """Return the configured namespace, which the plain paths use."""
    _set_namespace(request, request.app.state.namespace)


def named_namespace(
    request: Request,
    namespace: Annotated[str, Path(description="A namespace.", openapi_examples=PARAMETERS["namespace"])],
) -> None:
    """Return the namespace in the path."""
    _set_namespace(request, namespace)


def _set_namespace(request: Request, namespace: str) -> None:
    request.state.namespace = namespace
    audit_of(request.scope).namespace = namespace[:63]


def namespace_of(request: Request) -> str:
    """Return what one of both has set."""
    namespace: str = request.state.namespace
    return namespace


async def session_of(request: Request, _: Annotated[object, Depends(_DOCUMENTED)]) -> Session:
    """Return who calls. Raises RestError (401, 429) and ClusterError."""
    token = bearer_token(request.headers)
    session = Session(await service_of(request).access.authenticate(token), token)
    audit = audit_of(request.scope)
    audit.user, audit.uid = session.caller.user, session.caller.uid
    users: UserLimits = request.app.state.users
    users.enter(audit.user)
    audit.counted = True
    return session


async def start_request(request: Request, caller: Annotated[Session, Depends(session_of)]) -> StartRequest:
    """Return the body, read for those only who may create Backups in the namespace. Raises RestError (400, 403)."""
    await service_of(request).check_may_start(caller, namespace_of(request))
    return await _body(request, StartRequest)


async def consolidate_request(request: Request, caller: Annotated[Session, Depends(session_of)]) -> ConsolidateRequest:
    """Return the body, read for those only who may change BackupChains there. Raises RestError (400, 403)."""
    await service_of(request).check_may_consolidate(caller, namespace_of(request))
    return await _body(request, ConsolidateRequest)


async def restore_request(request: Request, caller: Annotated[Session, Depends(session_of)]) -> RestoreRequest:
    """Return the body, read for those only who may create Restores in the namespace. Raises RestError (400, 403)."""
    await restores_of(request).check_may_start(caller, namespace_of(request))
    return await _body(request, RestoreRequest)


async def _body(request: Request, model: type[_M]) -> _M:
    """Return the body, whatever its content type (`curl -d` sets a wrong one). Raises RestError (400)."""
    try:
        raw = json.loads(await read_body(request.stream(), MAX_BODY, _BODY_S))
        return model.model_validate(raw)
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False, include_input=False)) from None
    except BodyTooLargeError as error:
        raise RestError(400, str(error)) from None
    except TimeoutError:
        raise RestError(400, "body: did not arrive in time") from None
    except (ValueError, RecursionError) as error:
        raise RestError(400, "body is not JSON", str(error)) from None


def _decimal(value: object) -> object:
    if isinstance(value, str) and _DIGITS.fullmatch(value) is None:
        raise PydanticCustomError("int_parsing", "must be an integer")
    return value


DECIMAL: Final = BeforeValidator(_decimal)
"""A parameter that is an integer is written in digits: pydantic would take `1.0`, `1_000` and blanks too."""
CurrentSession = Annotated[Session, Depends(session_of)]
StartBody = Annotated[StartRequest, Depends(start_request)]
ConsolidateBody = Annotated[ConsolidateRequest, Depends(consolidate_request)]
RestoreBody = Annotated[RestoreRequest, Depends(restore_request)]
