"""Settings of the programs that the chart deploys, from environment variables: one loader for all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)
from pydantic_settings.sources.utils import parse_env_vars

PREFIX: Final = "SENDENSE_"


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


SplitText = BeforeValidator(_split)
"""For lists whose elements have a type of their own; goes with `NoDecode`."""
TextList = Annotated[tuple[str, ...], NoDecode, SplitText]
"""Comma-separated, or a JSON list."""


class _Variables(EnvSettingsSource):
    """The given variables instead of the process's own, so that a test needs no process."""

    def __init__(self, settings: type[BaseSettings], environment: Mapping[str, str]) -> None:
        self._environment = environment
        super().__init__(settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return parse_env_vars(self._environment, self.case_sensitive, self.env_ignore_empty, self.env_parse_none_str)

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Decode JSON. Raises ValueError that names the variable."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError as error:
            raise ValueError(f"{PREFIX}{field_name.upper()} is not JSON: {error}") from None


class ProgramSettings(BaseSettings):
    """Settings that all programs have. Read from SENDENSE_<FIELD>; mappings and models are JSON, times in seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] | None = None
    """None: text on a terminal, else JSON."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the constructor take arguments only: the environment is read by `from_environment`."""
        return (init_settings,)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables that are set and not empty. Raises ValueError with the variable's name."""
        try:
            return cls(**_Variables(cls, environment)())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name, *path = map(str, first["loc"])
            place = f" {'.'.join(path)}" if path else ""
            raise ValueError(f"{PREFIX}{name.upper()}:{place} {first['msg']}") from None
        except SettingsError as error:
            raise ValueError(str(error.__cause__ or error)) from None
