"""The worker's task of a consolidation, its modes, and why it leaves layers alone; both sides know them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from sendense_operator.task import Bytes, ChainTask, Immutability


class ConsolidationMode(StrEnum):
    """When layers of removed restore points are merged into those that depend on them."""

    AUTO = "Auto"
    """Whenever it frees enough or keeps the chain below its target depth."""
    MANUAL = "Manual"
    """Only on request."""
    NEVER = "Never"


class ConsolidationObstacle(StrEnum):
    """Reasons why layers that should be merged are left alone; users see them in the status of the BackupChain."""

    LAYER_PINNED = "LayerPinned"
    """A pod is reading them."""
    RETAINED = "Retained"
    """They are immutable, by spec.immutability of the BackupRepository."""
    DAMAGED = "Damaged"
    """A restore point that is read through them is damaged."""
    ORPHANS = "Orphans"
    """A file that no manifest names depends on them."""
    MANIFESTS_UNREADABLE = "ManifestsUnreadable"
    """Not all manifests of the chain can be read, so what needs them is not known."""
    NO_ROOM = "NoRoom"
    """The repository has no room for the merged layer beside them."""
    CHAIN_BUSY = "ChainBusy"
    """A backup was writing the chain for too long."""
    MERGE_FAILED = "MergeFailed"
    """The merge failed, or the merged layer did not read back as the digests say; the worker's log says why."""


class ConsolidationTask(ChainTask):
    """Consolidation of one chain: layers that no restore point needs apart are merged, and what is unneeded is freed.

    The worker then writes the catalogue of the chain to the pod's log, as maintenance does for chains of `remove`.
    """

    kind: Literal["consolidation"] = "consolidation"
    chain: str
    """Name of the BackupChain."""
    target_depth: Annotated[int, Field(ge=2, le=64)] = 8
    """Layers of a disk above which layers are merged although that frees little."""
    everything: bool = False
    """Whether every layer that no restore point needs apart is merged, whatever that frees."""
    immutability: Immutability | None = None
    """As in BackupTask: layers of an immutable restore point, and all layers below them, are neither merged nor
    freed."""
    min_free: Bytes = 1 << 30
    """As in BackupTask."""
    bytes_per_second: Annotated[int, Field(ge=1)] | None = None
    """Most bytes to write per second; None: no limit."""
