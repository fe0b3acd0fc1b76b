"""Why no increment may stand on a restore point: a small file beside its manifest, which itself never changes.

It is written when a check of the point failed or when vCenter refused its change id, so that the next attempt, in
another pod or another cluster, makes a full instead of failing the same way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, ValidationError

from sendense_operator.task import FullReason, Wire

_MESSAGE: Final = 1000


class Unfit(Wire):
    """What speaks against one disk of a restore point."""

    index: Annotated[int, Field(ge=0)]
    """Position of the disk in the restore point."""
    reason: FullReason
    """ParentUnverified: it can't be read as it was written. ChangeIDRefused: only its change id is of no use."""
    message: str = ""
    time: datetime

    @property
    def is_damage(self) -> bool:
        """Whether the restore point itself is in doubt."""
        return self.reason is FullReason.PARENT_UNVERIFIED


_LIST: Final = TypeAdapter(tuple[Unfit, ...])


def to_json(marks: Sequence[Unfit]) -> bytes:
    """All marks of one restore point."""
    kept = [mark.model_copy(update={"message": mark.message[:_MESSAGE]}) for mark in marks]
    return json.dumps([mark.model_dump(mode="json", by_alias=True) for mark in kept], indent=1).encode() + b"\n"


def from_json(data: bytes, now: datetime, disks: int) -> tuple[Unfit, ...]:
    """Inverse of `to_json`. What can't be read speaks against all `disks`: somebody had a reason to write it."""
    try:
        return _LIST.validate_json(data)
    except ValidationError:
        text = "its .unfit file can't be read"
        return tuple(
            Unfit(index=index, reason=FullReason.PARENT_UNVERIFIED, message=text, time=now) for index in range(disks)
        )
