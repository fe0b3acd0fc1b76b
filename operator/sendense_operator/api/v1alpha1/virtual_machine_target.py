"""Target of a Restore that makes a KubeVirt VirtualMachine of the restored disks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from sendense_operator.api.v1alpha1.base import Model, ObjectName, ShortText, SubdomainName, keyed_by, rules
from sendense_operator.api.v1alpha1.known_hardware import KnownNetworkCard, MemoryBytes, Processors
from sendense_operator.api.v1alpha1.restored_claim import AccessMode, AccessModes
from sendense_operator.vm_hardware import MAX_NETWORK_CARDS

MAX_TABLE = 64
"""Most entries of a table of networks or datastores."""
MappedName = Annotated[str, Field(min_length=1, max_length=256)]
AttachmentName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=317,
        pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?"
        r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]
_ONE_CONNECTION = (
    "has(self.pod) != has(self.multus)",
    "set either pod: {} for the pod network, or multus with the name of a NetworkAttachmentDefinition",
)


class Firmware(StrEnum):
    """Firmware of a VM."""

    BIOS = "BIOS"
    EFI = "EFI"
    EFI_SECURE_BOOT = "EFISecureBoot"


class DiskBus(StrEnum):
    """Bus that a VM's disks are connected to."""

    VIRTIO = "Virtio"
    SATA = "SATA"
    SCSI = "SCSI"


class NetworkCardModel(StrEnum):
    """Model of a VM's network cards."""

    VIRTIO = "Virtio"
    E1000E = "E1000e"
    E1000 = "E1000"


class PodNetwork(Model):
    """The pod network of the cluster, behind network address translation (KubeVirt's masquerade binding)."""


class NetworkConnection(Model):
    """What a network card is connected to."""

    model_config = ConfigDict(json_schema_extra=rules(_ONE_CONNECTION))

    pod: PodNetwork | None = None
    """The pod network of the cluster. Only one network card of a VM can be connected to it."""
    multus: AttachmentName | None = None
    """NAME or NAMESPACE/NAME of a NetworkAttachmentDefinition, to which the card is bridged."""


class NetworkMapping(NetworkConnection):
    """What the network cards of one network in vCenter are connected to."""

    network: MappedName
    """Name of the network (port group) in vCenter."""


class StorageClassMapping(Model):
    """StorageClass for the disks of one datastore."""

    datastore: MappedName
    """Name of the datastore in vCenter."""
    storage_class_name: SubdomainName
    """StorageClass of the claims that are made for its disks."""


class HardwareSettings(Model):
    """Hardware that replaces what the restore point says, or what it does not say."""

    processors: Processors | None = None
    """Number of virtual processors; absent: as many as the VM had."""
    memory_bytes: MemoryBytes | None = None
    """Memory in bytes; absent: as much as the VM had."""
    firmware: Firmware | None = None
    """Firmware. vCenter does not report it to the appliance. Absent: EFI for Windows 11 and later, BIOS for all
    others. A guest does not boot with another firmware than it was installed with."""
    disk_bus: DiskBus | None = None
    """Bus of the disks; Virtio and SCSI need drivers for virtio in the guest. Absent: Virtio for Linux and FreeBSD,
    SATA for Windows, which has no such drivers by itself, and for all others."""
    network_card_model: NetworkCardModel | None = None
    """Model of the network cards. Absent: Virtio for Linux and FreeBSD, E1000e for all others."""


class VirtualMachineTarget(Model):
    """A KubeVirt VirtualMachine with a claim per disk, all of which the operator makes.

    It is made once all disks were read back, and never started.
    """

    name: ObjectName
    """Name of the VirtualMachine, which must not exist. The claim of disk N is named NAME-disk-N."""
    storage_classes: Annotated[
        list[StorageClassMapping], Field(max_length=MAX_TABLE, json_schema_extra=keyed_by("datastore"))
    ] = []
    """StorageClasses of the claims by the datastores that the disks had in vCenter."""
    default_storage_class_name: SubdomainName | None = None
    """StorageClass for the disks of all other datastores. Absent: storageClasses must name the datastore of each
    disk; if that is empty too, the cluster's default StorageClass is used."""
    access_modes: AccessModes = [AccessMode.READ_WRITE_ONCE]
    """Access modes of the claims. KubeVirt can migrate a running VM only with ReadWriteMany."""
    networks: Annotated[list[NetworkMapping], Field(max_length=MAX_TABLE, json_schema_extra=keyed_by("network"))] = []
    """What the network cards are connected to, by the networks that they had in vCenter."""
    default_network: NetworkConnection | None = None
    """What the network cards of all other networks are connected to; a VM of which no network cards are known gets
    one. Absent: networks must name the network of each card."""
    keep_mac_addresses: bool = True
    """Whether the network cards keep their MAC addresses. Set it to false where the original VM goes on running in the
    same network."""
    hardware: HardwareSettings | None = None
    """Hardware that replaces what the restore point says, or what it does not say."""


class PlannedNetworkCard(KnownNetworkCard):
    """One network card of the VirtualMachine."""

    pod: PodNetwork | None = None
    """Set if it is connected to the pod network."""
    multus: AttachmentName | None = None
    """The NetworkAttachmentDefinition that it is bridged to."""


class PlannedMachine(Model):
    """The VirtualMachine that a Restore makes, or has made."""

    name: ObjectName
    """Its name."""
    processors: Processors
    """Number of virtual processors."""
    memory_bytes: MemoryBytes
    """Memory in bytes."""
    guest_os: ShortText = Field(default="", alias="guestOS")
    """VMware's identifier of the guest operating system; empty: not known."""
    firmware: Firmware
    """Its firmware."""
    disk_bus: DiskBus
    """Bus of its disks."""
    network_card_model: NetworkCardModel
    """Model of its network cards."""
    network_cards: Annotated[
        list[PlannedNetworkCard],
        Field(max_length=MAX_NETWORK_CARDS, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = []
    """Its network cards."""
