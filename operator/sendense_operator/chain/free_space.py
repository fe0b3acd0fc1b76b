"""Check that a file system can hold the files of a backup, if their number (inodes) is limited. No I/O."""

from __future__ import annotations

from typing import Final

from sendense_operator.answer import Capacity

FILES_TO_START: Final = 256
"""Files that a backup may create: layers, digest lists and marks of 64 disks, manifest, intent."""
FILES_TO_COMMIT: Final = 16
"""Files that a backup may create once its layers exist."""


def lacks_files(capacity: Capacity, files: int) -> str:
    """Return a message if fewer than `files` files can be created, else an empty text."""
    if capacity.free_files is None or capacity.free_files >= files:
        return ""
    return (
        f"only {capacity.free_files} more files can be created on the volume (inodes), but {files} are needed: remove "
        "files or enlarge the volume"
    )
