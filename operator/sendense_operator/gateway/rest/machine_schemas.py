"""The JSON of a VirtualMachine that a restore makes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from sendense_operator.api.v1alpha1.base import SubdomainName
from sendense_operator.api.v1alpha1.known_hardware import MemoryBytes, Processors
from sendense_operator.api.v1alpha1.names import NAME_PATTERN
from sendense_operator.api.v1alpha1.virtual_machine_target import MAX_TABLE, AttachmentName, MappedName
from sendense_operator.gateway.rest.schemas import SENTENCE, WireModel

ClaimMode = Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]


class StorageClass(WireModel):
    """StorageClass for the disks of one datastore."""

    model_config = ConfigDict(strict=True)

    datastore: MappedName
    """Name of the datastore in vCenter."""
    storage_class_name: SubdomainName
    """StorageClass of the claims that are made for its disks."""


class Connection(WireModel):
    """What network cards are connected to: either the pod network, or a NetworkAttachmentDefinition."""

    model_config = ConfigDict(strict=True)

    pod: bool = False
    """The pod network of the cluster; one card of a VirtualMachine can be connected to it."""
    multus: AttachmentName | None = None
    """NAME or NAMESPACE/NAME of a NetworkAttachmentDefinition."""

    @model_validator(mode="after")
    def _is_one(self) -> Connection:
        if self.pod == (self.multus is not None):
            raise PydanticCustomError(SENTENCE, "a network needs either pod: true, or multus")
        return self

    def to_spec(self) -> dict[str, Any]:
        """Return the fields of the object."""
        return {"pod": {}} if self.multus is None else {"multus": self.multus}


class Network(Connection):
    """What the network cards of one network in vCenter are connected to."""

    network: MappedName
    """Name of the network (port group) in vCenter."""


class Hardware(WireModel):
    """Hardware that replaces what the backup says, or what it does not say."""

    model_config = ConfigDict(strict=True)

    processors: Processors | None = None
    """Number of virtual processors."""
    memory_bytes: MemoryBytes | None = None
    """Memory in bytes."""
    firmware: Literal["BIOS", "EFI", "EFISecureBoot"] | None = None
    """Left out: EFI for Windows 11 and later, BIOS for all others."""
    disk_bus: Literal["Virtio", "SATA", "SCSI"] | None = None
    """Left out: Virtio for Linux and FreeBSD, SATA for all others."""
    network_card_model: Literal["Virtio", "E1000e", "E1000"] | None = None
    """Left out: Virtio for Linux and FreeBSD, E1000e for all others."""


class VirtualMachine(WireModel):
    """A KubeVirt VirtualMachine that is made with a claim per disk, and not started."""

    model_config = ConfigDict(strict=True)

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    """Name of the VirtualMachine; the claim of disk N is named NAME-disk-N. None of them may exist."""
    storage_classes: Annotated[list[StorageClass], Field(max_length=MAX_TABLE)] | None = None
    """StorageClasses of the claims by datastore."""
    default_storage_class_name: SubdomainName | None = None
    """StorageClass for all other datastores; left out without storage_classes: the cluster's default."""
    access_modes: Annotated[list[ClaimMode], Field(min_length=1, max_length=3)] | None = None
    """Access modes of the claims; left out: ReadWriteOnce."""
    networks: Annotated[list[Network], Field(max_length=MAX_TABLE)] | None = None
    """What the network cards are connected to, by network."""
    default_network: Connection | None = None
    """What the network cards of all other networks are connected to."""
    keep_mac_addresses: bool = True
    """Whether the network cards keep their MAC addresses."""
    hardware: Hardware | None = None
    """Hardware that replaces what the backup says."""
