"""Building blocks of the resources: field types with their bounds, references, CEL rules, CRD columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from sendense_operator.api.v1alpha1.names import API_VERSION, NAME_PATTERN

MAX_INT = (1 << 53) - 1
"""Largest integer that every JSON reader keeps exactly (8 PiB as bytes)."""
MAX_DISKS = 64
MAX_CONDITIONS = 16
MAX_POINTS = 1000


class Model(BaseModel):
    """camelCase in JSON; attribute docstrings become the descriptions that `kubectl explain` shows."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", use_attribute_docstrings=True
    )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict with the API's field names; fields without a value are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """Return the schema extension for CEL rules, given as (rule, message) pairs.

    It goes into `Field(json_schema_extra=…)` or into a model's config.
    """
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}


def immutable(name: str) -> dict[str, Any]:
    """Return the rule that the field `name` never changes after creation."""
    return rules(("self == oldSelf", f"{name} is immutable: create a new object instead"))


def keyed_by(field: str) -> dict[str, Any]:
    """Return the schema extension by which server-side apply merges a list of objects on one of their fields."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [field]}


ObjectName = Annotated[str, Field(min_length=1, max_length=63, pattern=NAME_PATTERN)]
SubdomainName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]
SecretKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
Text = Annotated[str, Field(max_length=1024)]
"""Free text, such as a name given in VMware."""
ShortText = Annotated[str, Field(max_length=256)]
Message = Annotated[str, Field(max_length=4096)]
Bytes = Annotated[int, Field(ge=0, le=MAX_INT)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Port = Annotated[int, Field(ge=1, le=65535)]
Generation = Annotated[int, Field(ge=0, le=MAX_INT)]
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9.:]*[A-Za-z0-9])?$")]
HttpURL = Annotated[
    str,
    Field(
        min_length=8,
        max_length=512,
        pattern=r"^https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[-A-Za-z0-9._~/]*)?$",
    ),
]
"""http or https, without user, query or fragment, so that no credential can be in it."""
CIDR = Annotated[str, Field(min_length=3, max_length=43, pattern=r"^[0-9a-fA-F:.]+/[0-9]{1,3}$")]


class LocalRef(Model):
    """An object of the same namespace."""

    name: ObjectName
    """Name of the object, in the same namespace."""


class SecretRef(Model):
    """A Secret of the same namespace."""

    name: SubdomainName
    """Name of the Secret, in the same namespace."""


class ConditionStatus(StrEnum):
    """Status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """One observed aspect of the object (the standard Kubernetes condition)."""

    type: Annotated[str, Field(min_length=1, max_length=316, pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    """Name of the aspect, such as Ready."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Reason of the status in CamelCase, for programs."""
    message: Message = ""
    """Explanation of the status, and what to do about it."""
    last_transition_time: datetime
    """When the status last changed."""
    observed_generation: Generation | None = None
    """Generation of the spec that this condition was computed from."""


class Status(Model):
    """Fields of every status."""

    observed_generation: Generation | None = None
    """Generation of the spec that this status was computed from."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=MAX_CONDITIONS,
            json_schema_extra=keyed_by("type"),
        ),
    ] = []
    """Ready; also Reconciling while work is under way, and Stalled while the object needs help (kstatus)."""


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`; one of priority 1 appears with `-o wide` only."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str = ""


AGE = Column("Age", ".metadata.creationTimestamp", "date")
READY = Column("Ready", ".status.conditions[?(@.type=='Ready')].status")
REASON = Column("Reason", ".status.conditions[?(@.type=='Ready')].reason")
MESSAGE = Column("Message", ".status.conditions[?(@.type=='Ready')].message", priority=1)


@dataclass(frozen=True)
class Resource:
    """Everything that the generator needs to write one CRD."""

    kind: str
    plural: str
    short_name: str
    description: str
    spec: type[Model]
    status: type[Status]
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()
    api_version: str = API_VERSION
    annotations: Mapping[str, str] = field(default_factory=dict)
