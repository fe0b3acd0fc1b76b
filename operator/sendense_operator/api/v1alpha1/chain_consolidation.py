"""Consolidation of a chain: when its layers are merged, and what became of that."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from sendense_operator.api.v1alpha1.base import Bytes, Count, Model, ShortText, Text, rules
from sendense_operator.api.v1alpha1.cron_schedules import TimeZone
from sendense_operator.consolidation_task import ConsolidationMode

TimeOfDay = Annotated[str, Field(min_length=5, max_length=5, pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
"""Hour and minute, such as 22:00."""


class ConsolidationWindow(Model):
    """A part of each day."""

    model_config = ConfigDict(
        json_schema_extra=rules(("self.start != self.end", "window: start and end must differ; no window: at any time"))
    )

    start: TimeOfDay
    """Hour and minute at which it begins, such as 22:00."""
    end: TimeOfDay
    """Hour and minute at which it ends, on the next day if that is not after start."""
    time_zone: TimeZone = "UTC"
    """IANA time zone in which start and end are read, such as Europe/Berlin."""


class Consolidation(Model):
    """When layers of removed restore points are merged into those that depend on them, and how."""

    mode: ConsolidationMode = ConsolidationMode.AUTO
    """Auto merges layers when restore points were removed, so that the chain stays short and room is freed. Manual
    merges only on request, by the annotation backup.sendense.io/consolidate. Never merges nothing, even on request."""
    target_depth: Annotated[int, Field(ge=2, le=64)] = 8
    """Layers of a disk above which layers are merged even if that frees little."""
    window: ConsolidationWindow | None = None
    """Part of each day in which Auto may start. A merge that began in it goes on after its end. Absent: at any time."""
    bytes_per_second: Annotated[int, Field(ge=1 << 20, le=1 << 40)] | None = None
    """How many bytes per second a merge writes at most; absent: as fast as the storage takes them."""


class ChainConsolidation(Model):
    """Consolidation of the chain."""

    request: Text = ""
    """Value of the annotation backup.sendense.io/consolidate that was last acted on."""
    request_time: datetime | None = None
    """Since when a request is being acted on."""
    progress: ShortText = ""
    """What is being merged, or what the merge waits for; empty when nothing is to be merged."""
    last_time: datetime | None = None
    """When the last consolidation ended, whatever its result."""
    last_merges: Count = 0
    """Layers that it wrote, each in the place of several."""
    last_freed_bytes: Bytes = 0
    """Bytes that the chain occupied less after it than before."""
    left: ShortText = ""
    """Why layers were left alone that should be merged: LayerPinned, Retained, Damaged, Orphans, ManifestsUnreadable,
    NoRoom, ChainBusy or MergeFailed; empty if none were."""
    message: Text = ""
    """Explanation of left."""
    problem: Text = ""
    """Why the last consolidation did not come to its end, or was refused; empty when it did."""
    tries: Count = 0
    """Consolidations in a row that left layers alone or failed; the next one waits ever longer."""
    seen: ShortText = ""
    """Digest of what there was to merge when the last consolidation ended; Auto starts again when that changes."""
