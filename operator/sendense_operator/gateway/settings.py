"""Settings of the gateway, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from sendense_operator.api.v1alpha1 import names
from sendense_operator.vma.callback_keys import FOLDER

PREFIX: Final = "SENDENSE_"


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Name = Annotated[str, Field(pattern=names.NAME_PATTERN)]


class ServerSettings(BaseModel):
    """What the programs that serve HTTP have in common. Read from SENDENSE_<FIELD>; times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespaces: Annotated[tuple[Name, ...], BeforeValidator(_split)] = ()
    """Comma-separated; none: all."""
    drain_seconds: Annotated[float, Field(ge=0, le=300)] = 5.0
    """Between "not ready" and the closing of the listener: endpoints need that long to be updated."""
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables that are set and not empty. Raises ValueError with the variable's name."""
        found = {
            field: environment[PREFIX + field.upper()]
            for field in cls.model_fields
            if environment.get(PREFIX + field.upper())
        }
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ValueError(f"{PREFIX}{str(first['loc'][0]).upper()}: {first['msg']}") from None


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
