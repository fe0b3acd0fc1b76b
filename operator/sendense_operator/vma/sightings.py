"""Format of a gateway's report about callbacks that reach no worker, and its limits. No I/O.

Times are ages in seconds, so that the clocks of two machines are never compared.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from sendense_operator.api.v1alpha1 import names

PATH: Final = "/v1/sightings"
MAX_ANSWER: Final = 512 * 1024
"""Largest report in bytes; two full lists take less."""
MAX_STRAY_JOBS: Final = 512
MAX_STRAY_JOBS_PER_APPLIANCE: Final = 48
MAX_STRAY_CALLS: Final = 256

_Age = Annotated[float, Field(ge=0, le=1e9)]
_Name = Annotated[str, Field(pattern=names.NAME_PATTERN)]
_OptionalName = Annotated[str, Field(max_length=63)]


class StrayJob(BaseModel):
    """A job that sends telemetry although no worker runs it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    namespace: _Name
    appliance: _Name
    job: Annotated[str, Field(max_length=64)]
    """Job ID."""
    first: _Age
    """Seconds since its first call."""
    last: _Age
    """Seconds since its last call."""


class StrayCall(BaseModel):
    """A callback of a running job that arrived at a wrong path, so that the job's worker did not receive it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    namespace: _Name
    """Namespace of the worker for which the callback was meant."""
    appliance: _Name
    """Appliance that this worker uses."""
    pod_uid: Annotated[str, Field(max_length=64)]
    """UID of this worker's pod."""
    path_namespace: _OptionalName = ""
    """Namespace in the path that was called; empty if it is not a valid name."""
    path_appliance: _OptionalName = ""
    """Appliance in the path that was called; empty if it is not a valid name."""
    denial: Annotated[str, Field(max_length=32)] = ""
    """Why the path was refused; empty if it is the valid path of that other appliance."""
    last: _Age
    """Seconds since the last such call."""


class Sightings(BaseModel):
    """The report of one gateway."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    jobs: Annotated[tuple[StrayJob, ...], Field(max_length=MAX_STRAY_JOBS)] = ()
    calls: Annotated[tuple[StrayCall, ...], Field(max_length=MAX_STRAY_CALLS)] = ()


def reader_token(key: bytes) -> str:
    """Return the bearer token with which the controller reads reports, derived from the callbacks' shared key."""
    return hmac.new(key, b"sightings", hashlib.sha256).hexdigest()
