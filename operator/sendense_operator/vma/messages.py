"""Requests to the VMA and its answers, validated; fields that newer builds add are ignored."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MAX_VMS: Final = 20_000
"""Most VMs of one datacenter."""


def _none_is_empty(value: object) -> object:
    """Return an empty list for null, which is how Go encodes an empty list."""
    return () if value is None else value


def _any_scalar(value: object) -> object:
    """Return a text or number as text, and an empty text for anything else: such fields are only displayed."""
    if isinstance(value, str):
        return value[:256]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _any_count(value: object) -> object:
    """Return a positive whole number, and None for anything else: nothing that a backup needs depends on it."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _any_objects(value: object) -> object:
    """Return the objects in a list: what else it holds is left out, because no backup depends on it."""
    return tuple(item for item in value if isinstance(item, dict)) if isinstance(value, list | tuple) else ()


_Text = Annotated[str, Field(max_length=4096)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class VMAHealth(_Answer):
    """GET /api/v1/health."""

    status: _Text
    uptime: Annotated[str, BeforeValidator(_any_scalar)] = ""
    """Not the uptime: the time since this call, which does not reveal a restart (vma-contract 6.3)."""


class InventoryDisk(_Answer):
    """One disk of a VM, in the VM's device order."""

    id: _Text
    """`disk-KEY`, where KEY is the device key (see `inventory.device_key`)."""
    label: str = ""
    vmdk_path: str = ""
    datastore: str = ""
    provisioning_type: Annotated[str, BeforeValidator(_any_scalar)] = ""
    capacity_bytes: Annotated[int, Field(gt=0, le=1 << 50)]
    """Virtual size in bytes. The answer's `size_gb` is rounded and therefore not used."""


class InventoryNetwork(_Answer):
    """One network card of a VM."""

    name: Annotated[str, BeforeValidator(_any_scalar)] = ""
    """Name of its network (port group)."""
    mac_address: Annotated[str, BeforeValidator(_any_scalar)] = ""


class InventoryVM(_Answer):
    """One VM of a discover answer."""

    id: str = ""
    """BIOS UUID."""
    name: _Text
    path: _Text
    """Inventory path, such as /DC1/vm/pgtest1."""
    datacenter: str = ""
    power_state: str = ""
    guest_os: str = ""
    memory_mb: Annotated[int | None, BeforeValidator(_any_count)] = None
    """Memory in MiB; None: not reported."""
    num_cpu: Annotated[int | None, BeforeValidator(_any_count)] = None
    """Number of virtual processors; None: not reported."""
    networks: Annotated[tuple[InventoryNetwork, ...], BeforeValidator(_any_objects)] = ()
    """Network cards."""
    disks: Annotated[tuple[InventoryDisk, ...], BeforeValidator(_none_is_empty)] = ()


class BrokenVM(_Answer):
    """A VM of a discover answer whose entry is not valid; the other VMs of the answer are used nevertheless."""

    id: str = ""
    """BIOS UUID; empty if it can't be read."""
    path: str
    """Inventory path; empty if it can't be read."""
    message: str
    """What is wrong with which field, such as `vms[3].disks[0].capacity_bytes: …`."""


class Inventory(_Answer):
    """A discover answer."""

    vms: tuple[InventoryVM, ...] = ()
    broken: tuple[BrokenVM, ...] = ()

    @property
    def size(self) -> int:
        """Number of VMs in the answer."""
        return len(self.vms) + len(self.broken)


class RawInventory(_Answer):
    """A discover answer before its VMs are validated one by one."""

    vms: Annotated[tuple[Any, ...], Field(max_length=MAX_VMS), BeforeValidator(_none_is_empty)]


class CBTStatus(_Answer):
    """GET /api/v1/vms/PATH/cbt-status."""

    enabled: bool
    """Whether Changed Block Tracking is on; the VMA's client turns it on by itself."""
    power_state: str = ""


class VMAProgress(_Answer):
    """GET /api/v1/progress/JOB.

    Only the existence of the record is used, as a sign of life. Its fields describe the current disk only, never say
    whether the job succeeded, and differ between builds (vma-contract 4), so none is read.
    """


class VMAStartRequest(BaseModel):
    """POST /api/v1/backup/start, without the credentials, which the client adds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: Annotated[str, Field(pattern=r"^backup-[0-9A-Za-z-]+$", max_length=244)]
    vm_name: Annotated[str, Field(min_length=1)]
    vm_path: Annotated[str, Field(min_length=1)]
    vcenter_host: Annotated[str, Field(min_length=1)]
    nbd_targets: Annotated[str, Field(min_length=1)]
    """Result of `nbd_targets.build_nbd_targets`."""
    backup_type: Literal["full", "incremental"]
    previous_change_id: str = ""
    """Any non-empty text for an incremental: the VMA requires it but does not use it."""


class StartAccepted(_Answer):
    """The answer to a start call. The client may nevertheless have failed already (vma-contract 2.3)."""

    job_id: str
    status: str = ""
    pid: int | None = None
