"""What there is to merge in a chain, as its status tells. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sendense_operator.api.v1alpha1.backupchain import BackupChainStatus, PointState, RemovalState


@dataclass(frozen=True)
class MergeableLayers:
    """Removed restore points whose layers others need, and what else a decision depends on."""

    needed: tuple[str, ...]
    """UIDs of the removed restore points."""
    depth: int
    """Layers that are read for the newest restore point."""
    damaged: tuple[str, ...]
    """Names of damaged restore points."""
    is_empty: bool
    """Whether the chain holds nothing at all."""

    @classmethod
    def of(cls, status: BackupChainStatus) -> MergeableLayers:
        """From the status of the chain as it is written now."""
        removed = status.removed
        return cls(
            needed=tuple(sorted(p.uid for p in removed if p.state is RemovalState.NEEDED and p.needed_by)),
            depth=status.depth,
            damaged=tuple(p.backup for p in status.restore_points if p.state is PointState.DAMAGED),
            is_empty=not status.points and not removed,
        )

    def digest(self, target_depth: int) -> str:
        """Return what changes when there may be more to merge: removed restore points, and a chain that is too deep."""
        text = "\n".join((str(self.depth > target_depth), *self.needed))
        return hashlib.sha256(text.encode()).hexdigest()[:32]
