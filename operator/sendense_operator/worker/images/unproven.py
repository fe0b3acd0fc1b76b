"""The finding that a restore point does not read as it was written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sendense_operator.worker.errors import Reason, WorkerError


class Unproven(Exception):  # noqa: N818 - says what was found
    """The restore point does not read as it was written; the text says what was found."""

    def __init__(self, message: str, *, layer: str = "", chunks: tuple[int, ...] = ()) -> None:
        """Initialize with what is damaged.

        `layer`: path of the damaged layer, if it is known. `chunks`: indexes of the chunks that do not read as they
        were written. If both are empty, only this restore point is affected, such as by a damaged digest list.
        """
        super().__init__(message)
        self.layer, self.chunks = layer, chunks


@contextmanager
def corruption_as_unproven(layer: str = "") -> Iterator[None]:
    """Turn a WorkerError ImageCorrupt into Unproven; `layer`: path of the layer that it is about, if known."""
    try:
        yield
    except WorkerError as error:
        if error.reason != Reason.IMAGE_CORRUPT:
            raise
        raise Unproven(error.message, layer=layer) from error
