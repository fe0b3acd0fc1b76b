"""Whether a file system has room for a backup: bytes, and files where their number is limited. Pure."""

from __future__ import annotations

from typing import Final

from sendense_operator.task import Capacity

FILES_TO_START: Final = 256
"""Files that a backup may create: layer, digests and marks of 64 disks, manifest, intent."""
FILES_TO_COMMIT: Final = 16
"""Files that are still to be created when the layers are there."""


def lacks_files(capacity: Capacity, files: int) -> str:
    """Return what is missing, with both numbers; empty when `files` files can be created."""
    if capacity.free_files is None or capacity.free_files >= files:
        return ""
    return f"only {capacity.free_files} more files can be created (inodes), {files} are needed: remove small files"
