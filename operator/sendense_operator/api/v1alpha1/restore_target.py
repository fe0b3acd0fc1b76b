"""Targets of a Restore: where the disks of a restore point are written, or how they are served."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from sendense_operator.api.v1alpha1.base import CIDR, MAX_DISKS, Model, SubdomainName, keyed_by, rules
from sendense_operator.api.v1alpha1.file_target import FileTarget
from sendense_operator.api.v1alpha1.restored_claim import NewClaim
from sendense_operator.api.v1alpha1.virtual_machine_target import VirtualMachineTarget

DiskIndex = Annotated[int, Field(ge=0, lt=MAX_DISKS)]


TARGETS: Final = ("persistentVolumeClaims", "nbd", "virtualMachine", "file")
"""Fields of spec.target, of which exactly one is set."""


class ClaimTarget(Model):
    """The claim that receives one disk."""

    disk: DiskIndex
    """Index of the disk."""
    claim_name: SubdomainName
    """Name of a PersistentVolumeClaim in the same namespace, of volume mode Filesystem and empty. The disk becomes the
    raw image disk.img in it, as KubeVirt and CDI expect it."""
    create: NewClaim | None = None
    """Makes the claim; absent: it must exist. It belongs to the Restore, and is deleted with it, until the Restore is
    Completed; from then on it stays."""


class NBDEncryption(StrEnum):
    """How an NBD export encrypts, and how it recognizes its clients."""

    PSK = "PSK"
    """TLS with a key that both sides have."""


class NBDTarget(Model):
    """A read-only NBD export of the disks, which any NBD client can look into or copy."""

    ttl_seconds: Annotated[int, Field(ge=10, le=2_592_000)] | None = None
    """Seconds for which the disks are served; absent: until the Restore is cancelled or deleted."""
    allowed_from: Annotated[list[CIDR], Field(max_length=32)] = []
    """Networks that may connect, besides the pods of the namespace. Without tls, NBD has no passwords: where the
    cluster enforces no NetworkPolicies, anybody who reaches the Service can read the disks."""
    tls: NBDEncryption | None = None
    """PSK: the disks are served with TLS only, to clients with the key in the Secret that status.tlsSecret names, which
    the operator makes. Absent: neither encryption nor passwords."""


_TARGETS: Final = ("persistentVolumeClaims", "nbd", "file")
"""The fields of a target, of which exactly one is set."""


class RestoreTarget(Model):
    """What becomes of the disks."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                f"[{', '.join(f'has(self.{field})' for field in TARGETS)}].filter(given, given).size() == 1",
                f"spec.target: set exactly one of {', '.join(TARGETS)}",
            )
        )
    )

    persistent_volume_claims: (
        Annotated[list[ClaimTarget], Field(min_length=1, max_length=MAX_DISKS, json_schema_extra=keyed_by("disk"))]
        | None
    ) = None
    """Writes them to claims: the claim of each disk. A claim receives one disk."""
    nbd: NBDTarget | None = None
    """Serves them read-only over NBD; nothing is copied. status.disks has the address of each."""
    virtual_machine: VirtualMachineTarget | None = None
    """Writes them to claims that are made for them, and makes a KubeVirt VirtualMachine that has them as its disks."""
    file: FileTarget | None = None
    """Writes them to files in one claim, a file per disk or one archive. status.disks has the file of each."""
