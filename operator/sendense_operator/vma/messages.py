"""What the VMA is sent and what it answers: validated, tolerant of fields that newer builds add."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MAX_VMS: Final = 20_000
"""In one datacenter."""


def _none_is_empty(value: object) -> object:
    """Go writes an empty list as null."""
    return () if value is None else value


def _any_scalar(value: object) -> object:
    """Return text for a text or a number, empty for anything else: it is only shown, and must fail nothing."""
    if isinstance(value, str):
        return value[:256]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


_Text = Annotated[str, Field(max_length=4096)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class VMAHealth(_Answer):
    """GET /api/v1/health."""

    status: _Text
    uptime: Annotated[str, BeforeValidator(_any_scalar)] = ""
    """Noise: the time since the very call, which says nothing about a restart."""


class InventoryDisk(_Answer):
    """One disk of a VM, in the VM's device order."""

    id: _Text
    """`disk-KEY`, KEY being VMware's device key (see `inventory.device_key`)."""
    label: str = ""
    vmdk_path: str = ""
    datastore: str = ""
    provisioning_type: Annotated[str, BeforeValidator(_any_scalar)] = ""
    capacity_bytes: Annotated[int, Field(gt=0, le=1 << 50)]
    """Size of the disk; `size_gb` is rounded and therefore not read."""


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
    disks: Annotated[tuple[InventoryDisk, ...], BeforeValidator(_none_is_empty)] = ()


class BrokenVM(_Answer):
    """A VM of a discover answer that can't be read: it must not hide the others."""

    id: str = ""
    """BIOS UUID, if that can be read."""
    path: str
    message: str
    """Names the field, such as `vms[3].disks[0].capacity_bytes: …`."""


class Inventory(_Answer):
    """A discover answer."""

    vms: tuple[InventoryVM, ...] = ()
    broken: tuple[BrokenVM, ...] = ()

    @property
    def size(self) -> int:
        """How many VMs it tells of."""
        return len(self.vms) + len(self.broken)


class RawInventory(_Answer):
    """A discover answer before its VMs are validated one by one."""

    vms: Annotated[tuple[Any, ...], Field(max_length=MAX_VMS), BeforeValidator(_none_is_empty)]


class CBTStatus(_Answer):
    """GET /api/v1/vms/PATH/cbt-status."""

    enabled: bool
    """Whether changed block tracking is on; the VMA's client turns it on by itself."""
    power_state: str = ""


class VMAProgress(_Answer):
    """GET /api/v1/progress/JOB: about the disk being copied only, and no verdict (vma-contract).

    Its being there at all is a sign of life. No field of it is used, so none is read: builds differ in them.
    """


class VMAStartRequest(BaseModel):
    """POST /api/v1/backup/start, without the credentials, which are added when it is sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: Annotated[str, Field(pattern=r"^backup-[0-9A-Za-z-]+$", max_length=244)]
    vm_name: Annotated[str, Field(min_length=1)]
    vm_path: Annotated[str, Field(min_length=1)]
    vcenter_host: Annotated[str, Field(min_length=1)]
    nbd_targets: Annotated[str, Field(min_length=1)]
    """As `nbd_targets.build_nbd_targets` makes it."""
    backup_type: Literal["full", "incremental"]
    previous_change_id: str = ""
    """Any non-empty text for an incremental: the VMA asks for it and does not use it."""


class StartAccepted(_Answer):
    """The answer to a start. It is no promise: the client may be dead already."""

    job_id: str
    status: str = ""
    pid: int | None = None
