"""Settings of the gateway, from the environment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import NoDecode

from sendense_operator.api.v1alpha1 import names
from sendense_operator.program_settings import ProgramSettings, SplitText
from sendense_operator.vma.callback_keys import FOLDER

Name = Annotated[str, Field(pattern=names.NAME_PATTERN)]


class ServerSettings(ProgramSettings):
    """Settings that the programs serving HTTP have in common."""

    namespaces: Annotated[tuple[Name, ...], NoDecode, SplitText] = ()
    """Comma-separated; none: all."""
    drain_seconds: Annotated[float, Field(ge=0, le=300)] = 5.0
    """Between "not ready" and the closing of the listener: endpoints need that long to be updated."""


class Settings(ServerSettings):
    """Settings of the callbacks' listener."""

    callback_key_folder: str = FOLDER
    """Folder of the mounted Secret that the base paths are derived from."""
    listen_port: Annotated[int, Field(ge=1, le=65535)] = 8082
    status_port: Annotated[int, Field(ge=1, le=65535)] = 8084
    """Where the controller reads what this gateway saw."""
    hold_seconds: Annotated[float, Field(gt=0, le=600)] = 60.0
    """How long a call waits for its worker. Must be shorter than the workers' `reconnect` clock."""
    held_calls: Annotated[int, Field(ge=1)] = 256
    """Calls that wait for their worker at the same time."""
    held_calls_per_appliance: Annotated[int, Field(ge=1)] = 64
    calls: Annotated[int, Field(ge=1)] = 1024
    """All calls in flight."""
