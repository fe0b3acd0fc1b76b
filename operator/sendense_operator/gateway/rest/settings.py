"""Settings of the REST API, from the environment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sendense_operator.gateway.settings import Name, ServerSettings


class RestSettings(ServerSettings):
    """Settings of the REST listener. Read from SENDENSE_<FIELD>; times in seconds."""

    rest_port: Annotated[int, Field(ge=1, le=65535)] = 8083
    rest_metrics_port: Annotated[int, Field(ge=1, le=65535)] = 8085
    """Of the metrics, without TLS and authentication: NetworkPolicies say who may read them."""
    rest_namespace: Name = "default"
    """Namespace of the paths that name none."""
    rest_tls_folder: str = ""
    """Folder with `tls.crt` and `tls.key`, read again when they change. Empty: plain HTTP."""
    rest_calls: Annotated[int, Field(ge=1)] = 64
    """Requests in flight."""
    rest_calls_per_user: Annotated[int, Field(ge=1)] = 16
    """Requests of one user in flight."""
    rest_review_seconds: Annotated[float, Field(ge=0, le=300)] = 10.0
    """How long a token's review and a right are remembered: so long a revoked one still works for reading."""
