"""The REST listener's application: paths, errors, probes, numbers, the description."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sendense_operator.cluster.errors import ClusterError
from sendense_operator.gateway.drain import Drain
from sendense_operator.gateway.rest.errors import RestError, error_body, from_cluster, from_validation, headers_of
from sendense_operator.gateway.rest.middleware import Front
from sendense_operator.gateway.rest.object_cache import trouble
from sendense_operator.gateway.rest.openapi import describe, page
from sendense_operator.gateway.rest.rest_metrics import Metrics
from sendense_operator.gateway.rest.restore_service import RestoreService
from sendense_operator.gateway.rest.routes import build_router
from sendense_operator.gateway.rest.service import Service
from sendense_operator.gateway.rest.user_limits import UserLimits

_ABOUT = (
    "Backups of VMware VMs, and restores from them. Every call needs a Kubernetes token (`Authorization: Bearer "
    "TOKEN`); RBAC decides what its owner may do. The paths without a namespace work in the gateway's default one."
)


def create_rest_app(service: Service, drain: Drain, namespace: str, calls: int, calls_per_user: int) -> FastAPI:
    """Build it. `namespace`: of the plain paths; `calls`: requests that may be in flight."""
    app = FastAPI(
        title="Sendense Backup", version="v1", description=_ABOUT, openapi_url=None, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.service = service
    app.state.restores = RestoreService(service.access, service.stores, service.freshness, service.namespaces)
    app.state.namespace = namespace
    metrics = app.state.metrics = Metrics(service.stores, service.freshness)
    users = app.state.users = UserLimits(calls_per_user)
    _add_errors(app)
    _add_probes(app, service, drain)
    app.include_router(build_router(in_namespace=False))
    app.include_router(build_router(in_namespace=True))
    app.add_middleware(Front, metrics=metrics, calls=calls, users=users)
    return app


def create_metrics_app(rest: FastAPI) -> Starlette:
    """Return the numbers of a REST application, for a port of their own: they are not for its callers."""

    async def numbers(_: Request) -> Response:
        metrics: Metrics = rest.state.metrics
        return PlainTextResponse(metrics.text())

    return Starlette(routes=[Route("/metrics", numbers)])


def _answer(error: RestError) -> Response:
    return JSONResponse(error_body(error.error, error.details), error.status, headers_of(error.status))


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RestError)
    async def refused(_: Request, error: RestError) -> Response:
        return _answer(error)

    @app.exception_handler(ClusterError)
    async def failed(_: Request, error: ClusterError) -> Response:
        return _answer(from_cluster(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return _answer(from_validation(error.errors()))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        details = f"{request.method} {request.url.path}"[:500]
        body = error_body(str(error.detail).lower(), details)
        return JSONResponse(body, error.status_code, error.headers)


def _add_probes(app: FastAPI, service: Service, drain: Drain) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return PlainTextResponse("ok")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        problem = "draining" if drain.draining else trouble(service.freshness)
        return PlainTextResponse(problem or "ok", 503 if problem else 200)

    @app.get("/openapi.json", include_in_schema=False)
    async def description() -> Response:
        return JSONResponse(describe(app))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(page(describe(app)), headers=policy)
