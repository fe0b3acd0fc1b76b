"""Claims that the operator makes for what a Restore writes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from sendense_operator.api.v1alpha1.base import MAX_INT, Model, SubdomainName


class AccessMode(StrEnum):
    """Access modes of a claim that a disk can be written to."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"
    READ_WRITE_ONCE_POD = "ReadWriteOncePod"


AccessModes = Annotated[
    list[AccessMode], Field(min_length=1, max_length=3, json_schema_extra={"x-kubernetes-list-type": "set"})
]


class NewClaim(Model):
    """A claim that the operator makes."""

    storage_class_name: SubdomainName | None = None
    """StorageClass of the claim; absent: the cluster's default."""
    access_modes: AccessModes = [AccessMode.READ_WRITE_ONCE]
    """Access modes of the claim."""
    size_bytes: Annotated[int, Field(ge=1, le=MAX_INT)] | None = None
    """Size to request; absent: the size of the disk, or of all files if nothing can be compressed,
    and what ext4 with its defaults takes of a volume for itself."""
