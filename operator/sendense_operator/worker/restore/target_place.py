"""Where an image of a restore lies: the names of its files, and the folder in the claim.

A claim that receives one disk has nothing else in it. One that receives files may have others beside them, and the
folder in it may have to be made; no link on the way to it is followed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sendense_operator.chain.layout import MARKER as REPOSITORY_MARKER
from sendense_operator.chain.layout import PARTIAL
from sendense_operator.restore_task import IMAGE, RestoreDisk
from sendense_operator.worker.errors import WorkerError
from sendense_operator.worker.restore.target_errors import not_empty, taken
from sendense_operator.worker.restore.target_marker import MARKER
from sendense_operator.worker.storage.durable_io import ensure_folder, is_folder, is_regular, list_names

PARTIAL_IMAGE: Final = IMAGE + PARTIAL
_LOST_AND_FOUND: Final = "lost+found"
_MOST_NAMES: Final = 3
"""Entries that are in the way that a message names."""


class UnfitFolderError(OSError):
    """The folder that is named can't receive files."""


@dataclass(frozen=True)
class TargetPlace:
    """The place of one image. All methods raise OSError."""

    mount: Path
    """Where the claim is mounted."""
    image: str = IMAGE
    """Final name of the image's file."""
    marker: str = MARKER
    length: int | None = None
    """Length of the image's file in bytes; None: it is not known before it is written, so it is never continued."""
    within: str = ""
    """Folder in the claim; empty: its root."""
    is_shared: bool = False
    """Whether other files may lie beside it."""

    @classmethod
    def of_file(cls, mount: Path, within: str, name: str, length: int | None) -> TargetPlace:
        """Return the place of a file with this name, beside others."""
        return cls(mount, name, f".{name}{MARKER}", length, within, is_shared=True)

    @property
    def folder(self) -> Path:
        """The folder of all its files."""
        return self.mount / self.within

    @property
    def partial(self) -> str:
        """Name of the unfinished image's file."""
        return self.image + PARTIAL

    @property
    def image_path(self) -> Path:
        """Path of the image's file."""
        return self.folder / self.image

    @property
    def partial_path(self) -> Path:
        """Path of the unfinished image's file."""
        return self.folder / self.partial

    @property
    def marker_path(self) -> Path:
        """Path of the marker."""
        return self.folder / self.marker

    def names(self) -> set[str]:
        """Return the names in the folder; none if it is not there yet.

        Raises FileNotFoundError without a mount, and UnfitFolderError.
        """
        found = set(list_names(self.mount))
        nearest = self.nearest()
        if self.is_shared:
            self._check_outside_of_repositories(nearest)
        if nearest != self.mount:
            found = set(list_names(nearest))
        return found - {_LOST_AND_FOUND} if nearest == self.folder else set()

    def _check_outside_of_repositories(self, nearest: Path) -> None:
        """Refuse a folder inside a repository, whose scan would take files of a Restore for orphans."""
        for folder in (nearest, *nearest.parents):
            if os.path.lexists(folder / REPOSITORY_MARKER):
                raise UnfitFolderError(errno.EEXIST, "the claim holds a repository there")
            if folder == self.mount:
                return

    def nearest(self) -> Path:
        """Return the folder, or that above it which exists. Raises UnfitFolderError for a link or file on the way."""
        nearest = self.mount
        for part in Path(self.within).parts:
            path = nearest / part
            try:
                path.lstat()
            except FileNotFoundError:
                return nearest
            if not is_folder(path):
                raise UnfitFolderError(errno.ENOTDIR, f"{path.relative_to(self.mount)} in the claim is not a folder")
            nearest = path
        return nearest

    def prepare(self) -> None:
        """Make the folder, durably."""
        ensure_folder(self.folder, self.mount)

    def has_right_length(self, path: Path) -> bool:
        """Return whether this is a regular file that may be the image, by its length."""
        return is_regular(path) and self.length in (None, path.lstat().st_size)

    def refuse(self, disk: RestoreDisk, names: Sequence[str], why: str = "") -> WorkerError:
        """Return the error for entries that are in the way."""
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        listed = ", ".join(map(repr, names[:_MOST_NAMES])) + more + why
        return taken(disk, f"{self._where} holds {listed}") if self.is_shared else not_empty(disk, f"it holds {listed}")

    def refuse_image(self, disk: RestoreDisk, what: str) -> WorkerError:
        """Return the error for an image of the final name that is not ours; `what`: what is wrong with it."""
        if self.is_shared:
            return taken(disk, f"{self.image} in {self._where} {what}")
        return not_empty(disk, f"its {self.image} {what}")

    @property
    def _where(self) -> str:
        return f"folder {self.within}" if self.within else "the claim"
