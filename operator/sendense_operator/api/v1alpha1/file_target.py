"""Target of a Restore: files in a claim, one per disk, or an archive of the whole VM."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from sendense_operator.api.v1alpha1.base import Model, SubdomainName, rules
from sendense_operator.api.v1alpha1.restored_claim import NewClaim
from sendense_operator.restore_task import (
    FOLDER_PATTERN,
    MAX_FOLDER,
    MAX_MEMORY,
    MAX_PROCESSORS,
    FileFormat,
    Firmware,
    SCSIController,
)


class OVAHardware(Model):
    """Hardware of the VM that an OVA describes, where it shall be other than that of the VM that was backed up."""

    processors: Annotated[int, Field(ge=1, le=MAX_PROCESSORS)] | None = None
    """Number of virtual processors; absent: as in the restore point, else 2."""
    memory_bytes: Annotated[int, Field(ge=4 << 20, le=MAX_MEMORY)] | None = None
    """Memory in bytes; absent: as in the restore point, else 4 GiB."""
    firmware: Firmware | None = None
    """BIOS or EFI, which no restore point knows. The guest only starts with the one that it was installed with. Absent:
    what imports the OVA decides, which is BIOS in vCenter."""
    scsi_controller: SCSIController | None = None
    """Kind of the disks' controllers, which no restore point knows. The guest needs a driver for it. Absent:
    LSILogic."""


class FileTarget(Model):
    """Files in a claim: a file per disk, or one OVA with all of them."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("!has(self.hardware) || self.format == 'OVA'", "spec.target.file.hardware requires the format OVA")
        )
    )

    claim_name: SubdomainName
    """Name of a PersistentVolumeClaim in the same namespace, of volume mode Filesystem. Other files may be in it, which
    stay as they are."""
    create: NewClaim | None = None
    """Makes the claim; absent: it must exist. It belongs to the Restore, and is deleted with it, until the Restore is
    Completed; from then on it stays."""
    folder: Annotated[str, Field(min_length=1, max_length=MAX_FOLDER, pattern=FOLDER_PATTERN)] | None = None
    """Folder in the claim, such as exports/2026, which is made if it does not exist; absent: the claim's root."""
    format: FileFormat
    """Raw: the bytes of the disk, with holes. QCOW2: without a backing file. VMDK: stream-optimised. OVA: one archive
    of a descriptor, checksums and the disks as VMDK, as vCenter imports it."""
    hardware: OVAHardware | None = None
    """Hardware in the descriptor of an OVA; absent: that of the restore point."""
