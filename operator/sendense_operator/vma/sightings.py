"""What gateways saw of calls that reach no worker: what a gateway's status endpoint answers, and its limits. Pure.

Times are ages in seconds, so that no clocks are compared.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from sendense_operator.api.v1alpha1 import names

PATH: Final = "/v1/sightings"
MAX_ANSWER: Final = 512 * 1024
"""Bytes of an answer: more than both lists can have."""
MAX_STRAY_JOBS: Final = 512
MAX_STRAY_JOBS_PER_APPLIANCE: Final = 48
MAX_STRAY_CALLS: Final = 256

_Age = Annotated[float, Field(ge=0, le=1e9)]
_Name = Annotated[str, Field(pattern=names.NAME_PATTERN)]
_OptionalName = Annotated[str, Field(max_length=63)]


class StrayJob(BaseModel):
    """A job that sends telemetry though no worker runs it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    namespace: _Name
    appliance: _Name
    job: Annotated[str, Field(max_length=64)]
    first: _Age
    last: _Age


class StrayCall(BaseModel):
    """A call of a running job that arrived where it does not belong, so that the job's worker did not get it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    namespace: _Name
    """Of the worker that should have had it, as are the following two."""
    appliance: _Name
    pod_uid: Annotated[str, Field(max_length=64)]
    path_namespace: _OptionalName = ""
    """Whose base path was called; empty with what can be no name."""
    path_appliance: _OptionalName = ""
    denial: Annotated[str, Field(max_length=32)] = ""
    """Why the path was turned away; empty: it is the path of that other appliance."""
    last: _Age


class Sightings(BaseModel):
    """All of one gateway's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    jobs: Annotated[tuple[StrayJob, ...], Field(max_length=MAX_STRAY_JOBS)] = ()
    calls: Annotated[tuple[StrayCall, ...], Field(max_length=MAX_STRAY_CALLS)] = ()


def reader_token(key: bytes) -> str:
    """Return the bearer token of the controller, which shares the callbacks' key with the gateways."""
    return hmac.new(key, b"sightings", hashlib.sha256).hexdigest()
