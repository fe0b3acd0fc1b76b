"""What a repository's pod was to do and did not bring about: tried again ever more seldom, until it succeeds."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.context import RepositoryContext
from sendense_operator.reconcile.state.hints import Backoff
from sendense_operator.task import ProbeTask

FIRST_S: Final = 30.0


class MaintenanceStep(StrEnum):
    """What a maintenance pod may be requested to do besides its probe."""

    SCAN = "scan"
    REMOVAL = "removal"


def steps_of(task: ProbeTask) -> list[MaintenanceStep]:
    """Return what a pod was asked for."""
    return [MaintenanceStep.SCAN] * task.scan + [MaintenanceStep.REMOVAL] * bool(task.remove)


def pause(tries: int, longest: float) -> float:
    """Return seconds until the next try after so many that failed in a row (1, 2, …)."""
    return float(min(FIRST_S * 2 ** min(tries - 1, 20), longest))


def back_off(ctx: RepositoryContext, repository: Obj, duty: MaintenanceStep, why: str, request: str = "") -> None:
    """Record a failure. `request`: the requested scan's; a new request does not wait for old failures.

    A scan waits for its own interval at most, a removal for that of the looks, which bring it along.
    """
    spec = BackupRepositorySpec.model_validate(repository["spec"])
    longest = spec.scan_interval_seconds if duty is MaintenanceStep.SCAN else spec.probe_interval_seconds
    before = ctx.maintenance_hints.backoffs.get(_key(repository, duty))
    tries = before.tries + 1 if before is not None and before.request == request else 1
    until = ctx.monotonic() + pause(tries, longest)
    ctx.maintenance_hints.backoffs.put(_key(repository, duty), Backoff(until, tries, request, why))


def clear_backoff(ctx: RepositoryContext, repository: Obj, duty: MaintenanceStep) -> None:
    """Record the success: nothing is held back any more."""
    ctx.maintenance_hints.backoffs.pop(_key(repository, duty))


def remaining_backoff(ctx: RepositoryContext, repository: Obj, duty: MaintenanceStep, request: str = "") -> float:
    """Return seconds for which it is not tried again; 0 when it may be."""
    held = ctx.maintenance_hints.backoffs.get(_key(repository, duty))
    return max(held.until - ctx.monotonic(), 0.0) if held is not None and held.request == request else 0.0


def troubles(ctx: RepositoryContext, repository: Obj) -> str:
    """Return why duties that failed did, in words; empty when none did."""
    held = [(duty, ctx.maintenance_hints.backoffs.get(_key(repository, duty))) for duty in MaintenanceStep]
    return "; ".join(f"the last {duty} did not succeed: {one.why}" for duty, one in held if one is not None)


def _key(repository: Obj, duty: MaintenanceStep) -> tuple[str, str]:
    return repository["metadata"]["uid"], duty
