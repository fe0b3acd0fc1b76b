"""A file in a disk folder, as far as it can be described without opening it as an image."""

from __future__ import annotations

from dataclasses import dataclass

from sendense_operator.chain import qcow2
from sendense_operator.chain.qcow2 import Header, HeaderError


@dataclass(frozen=True)
class DiskFile:
    """One regular file in a disk folder, whatever wrote it."""

    length: int = 0
    """Length in bytes, holes included."""
    stored_bytes: int = 0
    """Bytes that it occupies on its file system."""
    header: Header | None = None
    """Header of an image that may be opened; None for any other file, for which `flaw` gives the reason."""
    flaw: str = ""
    backing: str | None = None
    """Backing name in the header, also of an image that may not be opened; None if there is none."""
    is_opaque: bool = False
    """Whether it may have a backing name that can't be read."""

    @classmethod
    def of(cls, head: bytes, length: int, stored_bytes: int) -> DiskFile:
        """Return the description of a file from its first HEADER_BYTES."""
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
