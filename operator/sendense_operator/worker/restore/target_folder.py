"""The folder that receives an image: what may lie in it, and the steps from empty to a finished image.

Whatever no Restore has made stays: it is neither overwritten, nor followed, nor removed. Of another Restore, only an
unfinished image is replaced, once none of its pods holds the marker's lock.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Final

from sendense_operator.logs import get_logger
from sendense_operator.restore_task import RestoreDisk
from sendense_operator.worker.errors import NotRegularError, Reason, WorkerError
from sendense_operator.worker.restore.restore_wording import describe_target
from sendense_operator.worker.restore.target_errors import taken, target_error, target_failures
from sendense_operator.worker.restore.target_file import TargetFile
from sendense_operator.worker.restore.target_marker import (
    BusyMarkerError,
    FinishedImage,
    ForeignMarkerError,
    TargetIdentity,
    TargetMarker,
)
from sendense_operator.worker.restore.target_place import TargetPlace, UnfitFolderError
from sendense_operator.worker.storage.durable_io import allocated, fsync_path, is_regular

log = get_logger(__name__)

_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""Errors of file systems that have no hard links."""


class Content(Enum):
    """What a claim holds when the attempt begins."""

    EMPTY = "empty"
    STARTED = "started"
    """The marker of this Restore, and perhaps its unfinished image."""
    FINISHED = "finished"
    """The marker of this Restore, and its finished image: an attempt was interrupted at its end."""
    IMAGE_ALONE = "image alone"
    """An image of the right size without a marker. It may be that of an earlier attempt, whose answer was lost."""


class TargetFolder:
    """The place of one image; `close` releases it, and leaves what is there to the next attempt.

    `disk`: for messages.
    """

    def __init__(self, place: TargetPlace, disk: RestoreDisk, identity: TargetIdentity, chunk: int) -> None:
        self.place, self._disk, self._identity, self._chunk = place, disk, identity, chunk
        self._marker: TargetMarker | None = None
        self._file: TargetFile | None = None
        self.content = Content.EMPTY
        self.allocated = 0
        """Bytes that the unfinished image of an earlier attempt occupies."""

    @property
    def file(self) -> TargetFile:
        """The image, once `examine` or `begin` has opened it."""
        if self._file is None:
            raise RuntimeError("the image is not open")
        return self._file

    @property
    def is_finished(self) -> bool:
        """Whether an image of the final name is there, which must not be written to."""
        return self.content in (Content.FINISHED, Content.IMAGE_ALONE)

    @property
    def current_path(self) -> Path:
        """Path of the image, whatever its name is now."""
        return self.place.image_path if self.is_finished else self.place.partial_path

    @property
    def is_stale(self) -> bool:
        """Whether the marker is this Restore's, but about another restore point or disk."""
        return self._marker is not None and self._marker.found != self._identity

    @property
    def is_abandoned(self) -> bool:
        """Whether the marker is that of another Restore, none of whose pods is left."""
        return self._marker is not None and self._marker.found.restore_uid != self._identity.restore_uid

    def inspect(self) -> None:
        """Find out what the claim holds, and lock it if a Restore has begun there; nothing is changed.

        What another Restore left unfinished does not count, and is replaced by `begin`. Raises WorkerError.

        TargetNotEmpty if it holds anything else; what is this Restore's can then be removed with `discard`.
        """
        with target_failures(self._disk, "reading the claim"):
            place = self.place
            names = self._names()
            self._check_writable()
            own = {place.marker, place.image, place.partial}
            if place.marker in names:
                self._open_marker(alone=names & own == {place.marker} and (place.is_shared or names <= own))
            foreign = [] if place.is_shared else sorted(names - own)
            if place.partial in names and not (self._marker and is_regular(place.partial_path)):
                foreign.append(place.partial)
            if place.image in names and (self.is_abandoned or not self._is_ours_or_like_it()):
                foreign.append(place.image)
            if foreign:
                raise place.refuse(self._disk, foreign)
            self.content = self._classify(names)
            self.allocated = allocated(place.partial_path) if self._marker else 0

    def free(self) -> tuple[int, int]:
        """Return the file system's ID and its free bytes. Raises WorkerError."""
        with target_failures(self._disk, "reading the free space of the claim"):
            nearest = self.place.nearest()
            found = os.statvfs(nearest)
            return nearest.stat().st_dev, found.f_bavail * found.f_frsize

    def examine(self) -> None:
        """Open the finished image for reading. Raises WorkerError."""
        place = self.place
        with target_failures(self._disk, f"opening {place.image}"):
            if not place.has_right_length(place.image_path):
                raise self.disown()
            self._file = TargetFile.examine(place.image_path, place.length or 0, self._chunk)

    def begin(self, on_step: Callable[[str], None]) -> bool:
        """Open the unfinished image, creating marker and image if necessary; return whether it is all new.

        Raises WorkerError.
        """
        try:
            with target_failures(self._disk, "creating the image"):
                if self.is_stale:
                    self._remove_own()
                if self._marker is None:
                    on_step("marker")
                    self.place.prepare()
                    self._marker = TargetMarker.create(self.place.marker_path, self._identity)
                on_step("image")
                return self._open_partial()
        except BusyMarkerError as error:
            raise self._busy() from error

    def finish(self) -> None:
        """Record durably that the unfinished image is proven. Raises WorkerError."""
        if self._marker is not None and not self.is_finished:
            with target_failures(self._disk, f"writing {self.place.marker}"):
                self._marker.finish(FinishedImage.of(self.file.stat()))

    def publish(self) -> None:
        """Give the proven image its final name, durably. Raises WorkerError, TargetNotEmpty if that name exists now."""
        if self._marker is None:
            return
        place = self.place
        with target_failures(self._disk, f"renaming {place.partial}"):
            if not self.is_finished:
                self._link()
            elif self._is_finished_image(place.partial_path):
                place.partial_path.unlink()  # the attempt was interrupted between link and unlink
            fsync_path(place.folder)
            self.content = Content.FINISHED

    def conclude(self) -> None:
        """Remove the marker, once all images of the Restore have their final names. Raises no WorkerError.

        What fails here is only logged, because the images are complete.
        """
        self._close_file()
        if self._marker is not None:
            try:
                self._marker.remove()
            except OSError as error:
                log.warning("the marker of the restore stays in the claim", disk=self._disk.index, error=error)
            self.close()  # nothing may be discarded any more

    def disown(self) -> WorkerError:
        """Give up an image that is not what was restored, so that nothing removes it; return the error to raise."""
        if self._marker is not None:
            self._marker.finished = None
        return self.place.refuse_image(self._disk, "is not the disk of this restore point")

    def discard(self) -> None:
        """Remove what this Restore made in the claim. Raises no WorkerError: what fails is logged."""
        self._close_file()
        if self._marker is None or self.is_abandoned:
            return
        try:
            self._remove_own()
        except OSError as error:
            log.warning("could not remove the unfinished image", disk=self._disk.index, error=error)

    def close(self) -> None:
        """Release the claim. May be called repeatedly."""
        self._close_file()
        if self._marker is not None:
            self._marker.close()
            self._marker = None

    def _names(self) -> set[str]:
        try:
            return self.place.names()
        except UnfitFolderError as error:
            raise taken(self._disk, str(error.strerror)) from error
        except (FileNotFoundError, NotADirectoryError) as error:
            text = f"{describe_target(self._disk)}: the claim is not mounted"
            raise WorkerError(Reason.TARGET_ERROR, text, self._disk.index) from error

    def _check_writable(self) -> None:
        nearest = self.place.nearest()
        read_only = os.statvfs(nearest).f_flag & os.ST_RDONLY
        if read_only or not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
            number = errno.EROFS if read_only else errno.EACCES
            raise target_error(OSError(number, os.strerror(number)), self._disk, "writing to the claim")

    def _open_marker(self, *, alone: bool) -> None:
        try:
            self._marker = TargetMarker.open(self.place.marker_path, self._identity, alone=alone)
        except ForeignMarkerError as error:
            why = f", which is not a Restore's: {error}"
            raise self.place.refuse(self._disk, [self.place.marker], why) from error
        except BusyMarkerError as error:
            raise self._busy() from error

    def _busy(self) -> WorkerError:
        text = f"{describe_target(self._disk)}: another pod is still writing to the claim"
        return WorkerError(Reason.TARGET_BUSY, text, self._disk.index)

    def _is_finished_image(self, path: Path) -> bool:
        """Return whether an entry is the file that the marker names as the finished image. Raises OSError."""
        if self._marker is None or self._marker.finished is None or not is_regular(path):
            return False
        return FinishedImage.of(path.lstat()) == self._marker.finished

    def _is_ours_or_like_it(self) -> bool:
        """Return whether the image is the one that the marker names; without one, whether it has the right length."""
        if self._marker is not None:
            return self._is_finished_image(self.place.image_path)
        return self.place.has_right_length(self.place.image_path)

    def _classify(self, names: set[str]) -> Content:
        if self.place.image in names and not self.is_stale:
            return Content.IMAGE_ALONE if self._marker is None else Content.FINISHED
        return Content.EMPTY if self._marker is None else Content.STARTED

    def _open_partial(self) -> bool:
        place = self.place
        path, length = place.partial_path, place.length
        try:
            if os.path.lexists(path) and self.content is Content.STARTED:
                if length is not None:
                    self._file = TargetFile.resume(path, length, self._chunk)
                    return False
                if not is_regular(path):
                    raise NotRegularError(errno.EINVAL, "not a regular file", str(path))
                path.unlink()
            self._file = TargetFile.create(path, length or 0, self._chunk)
        except (FileExistsError, NotRegularError) as error:
            raise place.refuse(self._disk, [place.partial], ", which is not this Restore's") from error
        return True

    def _link(self) -> None:
        """Rename the image; unlike a plain rename, this replaces nothing that was made meanwhile. Raises OSError."""
        partial, image = self.place.partial_path, self.place.image_path
        made_meanwhile = self.place.refuse_image(self._disk, "was made by somebody else meanwhile")
        try:
            os.link(partial, image, follow_symlinks=False)
        except FileExistsError as error:
            raise made_meanwhile from error
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(image):
                raise made_meanwhile from error
            partial.rename(image)
            return
        fsync_path(self.place.folder)
        partial.unlink()

    def _remove_own(self) -> None:
        """Remove the unfinished image, the finished one if it is certainly this Restore's, and the marker last."""
        if self._marker is None:
            return
        place = self.place
        if self._is_finished_image(place.image_path):
            place.image_path.unlink()
        if is_regular(place.partial_path):
            place.partial_path.unlink()
        fsync_path(place.folder)
        self._marker.remove()
        self._marker = None

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
