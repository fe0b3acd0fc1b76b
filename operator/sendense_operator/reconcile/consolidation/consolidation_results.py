"""What the result of a consolidation changes in the chain's status. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sendense_operator.answer import Answer, Consolidated
from sendense_operator.api.v1alpha1.chain_consolidation import ChainConsolidation
from sendense_operator.consolidation_task import ConsolidationObstacle
from sendense_operator.formatting import human_bytes, human_count, whole_seconds

MOST_FAILURES: Final = 3
"""Pods in a row that fail; then a request is given up."""
_TEXT: Final = 1000


@dataclass(frozen=True)
class ConsolidationEnd:
    """How a pod ended."""

    answer: Answer | None
    death: str
    """What ended it, if it left no answer."""
    request: str
    """Value of the annotation that its Job answers; empty: none."""
    seen: str
    """Digest of what there is to merge now."""

    @property
    def consolidated(self) -> Consolidated:
        """What it did; a pod without an answer tells of nothing."""
        return (self.answer.consolidated if self.answer is not None else None) or Consolidated()

    @property
    def is_interrupted(self) -> bool:
        """Whether it was stopped, and is to go on."""
        return self.answer is not None and self.answer.outcome == "Cancelled"

    @property
    def problem(self) -> str:
        """Why it did not come to its end; empty when it did, or was only interrupted."""
        if self.answer is None:
            return f"the consolidation left no answer: {self.death}"[:_TEXT]
        if self.answer.outcome == "Failed":
            return f"{self.answer.reason}: {self.answer.message}"[:_TEXT]
        return ""

    @property
    def summary(self) -> str:
        """What was merged, in words; empty: nothing."""
        done = self.consolidated
        if not done.merges and not done.freed_bytes:
            return ""
        return (
            f"{human_count(done.merges, 'layer')} written in the place of several, the disks have "
            f"{human_count(done.removed_layers, 'layer')} less; {human_bytes(done.written_bytes)} written, "
            f"{human_bytes(done.freed_bytes)} freed; the newest restore point has {human_count(done.depth, 'layer')}"
        )


def record_end(state: ChainConsolidation, end: ConsolidationEnd, now: datetime) -> None:
    """Let the chain's status tell of the end. What was only interrupted is still to be done."""
    done, finished = end.consolidated, end.answer.finished if end.answer is not None else None
    state.last_time = whole_seconds(min(finished or now, now))
    state.last_merges, state.last_freed_bytes = done.merges, done.freed_bytes
    state.problem = end.problem
    if end.is_interrupted:
        return
    state.seen = end.seen
    state.left, state.message = known_obstacle(done.left), done.message[:_TEXT] if done.left else ""
    if not (state.left or state.problem):
        state.tries = 0
    else:
        state.tries = 1 if done.merges else state.tries + 1
    if end.request and (not state.problem or state.tries >= MOST_FAILURES):
        state.request, state.request_time = end.request, None


def known_obstacle(reason: str) -> str:
    """Return the reason of the API's closed list; a newer worker may have others. Empty stays empty."""
    if not reason:
        return ""
    known = {obstacle.value for obstacle in ConsolidationObstacle}
    return reason if reason in known else ConsolidationObstacle.MERGE_FAILED.value
