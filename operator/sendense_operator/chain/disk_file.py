"""What can be known of a file in a disk's folder without opening it as an image."""

from __future__ import annotations

from dataclasses import dataclass

from sendense_operator.chain import qcow2
from sendense_operator.chain.qcow2 import Header, HeaderError


@dataclass(frozen=True)
class DiskFile:
    """One regular file of a chain, whoever made it."""

    length: int = 0
    """Bytes, holes included."""
    stored_bytes: int = 0
    """Bytes that it takes on its file system."""
    header: Header | None = None
    """None: no image of ours, `flaw` says why."""
    flaw: str = ""
    backing: str | None = None
    """Backing name as it stands in the header, also in one that is no image of ours; None: none."""
    is_opaque: bool = False
    """It may have a backing name that can't be read."""

    @classmethod
    def of(cls, head: bytes, length: int, stored_bytes: int) -> DiskFile:
        """From the first HEADER_BYTES of the file."""
        header, flaw, backing, is_opaque = None, "", None, False
        try:
            header = qcow2.parse(head)
        except HeaderError as error:
            flaw = str(error)
        try:
            backing = qcow2.backing_name(head)
        except HeaderError:
            is_opaque = True
        return cls(length, stored_bytes, header, flaw, backing, is_opaque)
