"""What all parts of one consolidation share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sendense_operator.chain.consolidation import Limits
from sendense_operator.chain.immutability import ImmutabilityRule
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.consolidation_task import ConsolidationTask
from sendense_operator.worker.consolidation.consolidation_state import ConsolidationState
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.chain_lock import ChainLock


@dataclass(frozen=True)
class ConsolidationScope:
    """One consolidation of a chain, whose merge lock is held."""

    settings: Settings
    task: ConsolidationTask
    state: ConsolidationState
    root: Path
    """The repository's root."""
    paths: ChainPaths
    merging: ChainLock
    """The merge lock."""
    runtime: Path
    """Folder for files of programs."""
    on_step: Callable[[str], None]
    """Receives the name of each step that changes the chain before it is done."""

    @property
    def rule(self) -> ImmutabilityRule:
        """What decides now whether a restore point is immutable."""
        return ImmutabilityRule.of(self.task.immutability)

    @property
    def limits(self) -> Limits:
        """What the task allows now."""
        task = self.task
        return Limits(task.target_depth, everything=task.everything, rule=self.rule, own_pod=self.settings.pod_uid)

    def before(self, _: str = "") -> None:
        """Raise WorkerError Fenced unless the merge lock is still held."""
        self.merging.check()

    def step(self, name: str) -> None:
        """Announce a step, and raise WorkerError Fenced unless the merge lock is still held."""
        self.on_step(name)
        self.before()
