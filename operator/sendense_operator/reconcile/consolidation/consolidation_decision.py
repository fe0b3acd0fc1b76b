"""Whether layers of a chain are to be merged now: by themselves, or on request. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sendense_operator.api.v1alpha1.chain_consolidation import ChainConsolidation, Consolidation
from sendense_operator.consolidation_task import ConsolidationMode, ConsolidationObstacle
from sendense_operator.formatting import human_list, whole_seconds
from sendense_operator.reconcile.consolidation.merge_window import seconds_until_open
from sendense_operator.reconcile.consolidation.mergeable_layers import MergeableLayers
from sendense_operator.reconcile.protection.time_zones import InvalidTimeZoneError
from sendense_operator.reconcile.repositories.retry_backoff import pause

LONGEST_BACKOFF_S: Final = 21_600.0
_LONGEST_WAIT_S: Final = 3600.0
"""Until the next check, in case a clock was set."""
_REFUSED: Final = "a consolidation was requested, but spec.consolidation.mode of this BackupChain is Never"


@dataclass(frozen=True)
class DueConsolidation:
    """Layers are to be merged now."""

    request: str = ""
    """Value of the annotation that requests it; empty: it is due by itself."""


@dataclass(frozen=True)
class HeldConsolidation:
    """There are layers to merge, but not now."""

    delay: float | None = None
    """Seconds until the next check; None: until something changes."""
    progress: str = ""
    """What it waits for."""
    obstacle: ConsolidationObstacle | None = None
    message: str = ""
    """Explanation of the obstacle."""
    problem: str = ""
    """What is wrong with the spec."""


def take_request(
    state: ChainConsolidation, request: str, mode: ConsolidationMode, layers: MergeableLayers, now: datetime
) -> None:
    """Begin, refuse or end what the annotation on the chain requests; `request`: its value."""
    if state.problem == _REFUSED and mode is not ConsolidationMode.NEVER:
        state.problem = ""
    if not request or request == state.request:
        state.request_time = None
    elif mode is ConsolidationMode.NEVER:
        state.request, state.request_time, state.problem = request, None, _REFUSED
    elif layers.is_empty:
        state.request, state.request_time = request, None
    elif state.request_time is None:
        state.request_time = whole_seconds(now)


def decide_due(
    layers: MergeableLayers, state: ChainConsolidation, rules: Consolidation, request: str, now: datetime
) -> DueConsolidation | HeldConsolidation | None:
    """Return what is to be done; None: nothing. `request`: value of the annotation on the chain."""
    is_requested = state.request_time is not None
    if not is_requested and not _has_changed(layers, state, rules):
        return None
    if layers.damaged:
        text = f"damaged restore points: {human_list(layers.damaged)}. Nothing of a chain with damage is merged"
        return HeldConsolidation(obstacle=ConsolidationObstacle.DAMAGED, message=text)
    if rest := _backoff(state, now):
        return HeldConsolidation(rest)
    return DueConsolidation(request) if is_requested else _in_window(rules, now)


def _has_changed(layers: MergeableLayers, state: ChainConsolidation, rules: Consolidation) -> bool:
    """Return whether there is something to merge that the last consolidation did not see, or left."""
    if rules.mode is not ConsolidationMode.AUTO or not layers.needed:
        return False
    return layers.digest(rules.target_depth) != state.seen or bool(state.left or state.tries)


def _backoff(state: ChainConsolidation, now: datetime) -> float:
    """Return seconds until it is tried again after some that left layers or failed; a new request does not wait."""
    if not state.tries or state.last_time is None:
        return 0.0
    if state.request_time is not None and state.request_time > state.last_time:
        return 0.0
    age = (now - state.last_time).total_seconds()
    # A clock that was set back must not put it off for long.
    return max(pause(state.tries, LONGEST_BACKOFF_S) - age, 0.0) if age >= 0 else 0.0


def _in_window(rules: Consolidation, now: datetime) -> DueConsolidation | HeldConsolidation:
    try:
        rest = seconds_until_open(rules.window, now)
    except InvalidTimeZoneError as error:
        return HeldConsolidation(problem=f"spec.consolidation.window: {error}. Nothing is merged by itself")
    if rest and rules.window is not None:
        text = f"waits for {rules.window.start} ({rules.window.time_zone}), when its window opens"
        return HeldConsolidation(min(rest, _LONGEST_WAIT_S), progress=text)
    return DueConsolidation()
