"""Access modes of claims that the operator makes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field


class AccessMode(StrEnum):
    """Access modes of a claim that a disk can be written to."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"
    READ_WRITE_ONCE_POD = "ReadWriteOncePod"


AccessModes = Annotated[
    list[AccessMode], Field(min_length=1, max_length=3, json_schema_extra={"x-kubernetes-list-type": "set"})
]
