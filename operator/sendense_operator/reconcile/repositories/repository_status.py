"""A repository's status from what a probe found. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sendense_operator.answer import Answer, Capacity, ImmutableBit
from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backuprepository import (
    BackupRepositorySpec,
    BackupRepositoryStatus,
    Catalogue,
    Enforcer,
    ImmutabilityStatus,
    RepositoryCapacity,
)
from sendense_operator.api.v1alpha1.conditions import State
from sendense_operator.chain.free_space import FILES_TO_START, lacks_files
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import human_bytes, whole_seconds
from sendense_operator.reconcile.backups.finish import REPOSITORY_REASONS
from sendense_operator.reconcile.state.kubernetes_objects import death_of, job_end, newest, ready_condition
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.workload.job_outcome import last_answer

FULL: Final = "RepositoryFull"


@dataclass(frozen=True)
class Probed:
    """A probe that ended. `problem` is None for a repository that can be used."""

    problem: Problem | None
    repository_id: str = ""
    capacity: Capacity | None = None
    immutable_bit: str = ""
    """ImmutableBit; empty: not known."""
    is_unfinished: bool = False
    """It did not come to its end, and not since the repository was found to be of no use."""


def decide_probe(job: Obj, pods: Sequence[Obj], remembered: Answer | None, spec: BackupRepositorySpec) -> Probed:
    """Return what an ended probe says about the repository."""
    answer = last_answer(pods) or remembered
    if answer is None or answer.outcome == "Cancelled":
        # At its deadline it is requested to end, and may still report that it was.
        return Probed(Problem("ProbeFailed", _silence(job, pods), Meaning.FINAL), is_unfinished=True)
    if answer.outcome != "Completed":
        problem = Problem(answer.reason or "ProbeFailed", answer.message, Meaning.FINAL)
        unfinished = answer.reason not in REPOSITORY_REASONS
        return Probed(problem, answer.repository_id, answer.capacity, is_unfinished=unfinished)
    return Probed(_room(answer.capacity, spec), answer.repository_id, answer.capacity, answer.immutable_bit)


def _silence(job: Obj, pods: Sequence[Obj]) -> str:
    pod = newest(pods)
    end = job_end(job)
    if end is not None and end.reason == "DeadlineExceeded":
        return f"the probe did not end in time: {end.message} (is the volume's storage there?)"
    return f"the probe left no answer: {death_of(pod) if pod else 'its pod is gone'}"


def _room(capacity: Capacity | None, spec: BackupRepositorySpec) -> Problem | None:
    if capacity is None:
        return None
    if words := lacks_files(capacity, FILES_TO_START):
        return Problem(FULL, words, Meaning.FINAL)
    if capacity.free >= spec.min_free_bytes:
        return None
    return Problem(
        FULL,
        f"{human_bytes(capacity.free)} are free, {human_bytes(spec.min_free_bytes)} are to be kept free",
        Meaning.FINAL,
    )


def is_in_order(repository: Obj) -> bool:
    """Return whether the last check found a repository that answers: at most it lacks room."""
    ready = ready_condition(repository)
    return ready is not None and (ready["status"] == "True" or ready["reason"] == FULL)


def next_repository_status(
    old: BackupRepositoryStatus,
    result: Probed | Problem | None,
    *,
    spec: BackupRepositorySpec,
    active: int,
    points: int = 0,
    volume: str | None,
    found: Capacity | None,
    catalogue: Catalogue | None = None,
    note: str = "",
    generation: int | None,
    now: datetime,
) -> BackupRepositoryStatus:
    """Return the status that tells of `result` (None: nothing new of it).

    `found`: what a backup found meanwhile; `note`: what is to be said of a repository that can be used.
    """
    status = old.model_copy(deep=True)
    status.active_backups = active
    status.points = points
    status.catalogue = catalogue or old.catalogue
    status.volume_name = volume or old.volume_name
    if spec.immutability is None:
        status.immutability = None
    capacity = found
    problem = result if isinstance(result, Problem) else None
    if isinstance(result, Probed):
        problem = result.problem
        capacity = result.capacity or found
        status.last_probe_time = whole_seconds(now)
        status.immutability = _immutability(spec, result.immutable_bit) or status.immutability
        if result.repository_id and problem is None:
            status.repository_id = result.repository_id[:256]
    elif result is None and found is not None and _is_ready(old):
        problem = _room(found, spec)
    if capacity is not None:
        status.capacity = _capacity(capacity)
    if result is None and problem is None:
        return status
    status.observed_generation = generation
    state = _state(problem, status, note)
    updated = conditions.update(conditions.dicts_of(old), state, generation=generation, now=now)
    status.conditions = conditions.models_of(updated)
    return status


def _immutability(spec: BackupRepositorySpec, bit: str) -> ImmutabilityStatus | None:
    """Return what a probe found; None: nothing new."""
    if spec.immutability is None or not bit:
        return None
    if bit == ImmutableBit.USED:
        return ImmutabilityStatus(enforced_by=Enforcer.FILE_SYSTEM)
    return ImmutabilityStatus(enforced_by=Enforcer.OPERATOR, message=_WITHOUT_BIT.get(bit, bit))


_WITHOUT_BIT: Final[Mapping[str, str]] = {
    ImmutableBit.NOT_PERMITTED: "the pod may not set the immutable bit of files: it lacks CAP_LINUX_IMMUTABLE",
    ImmutableBit.NOT_SUPPORTED: "the volume's file system has no immutable bit",
}


def _is_ready(status: BackupRepositoryStatus) -> bool:
    return conditions.is_true(conditions.dicts_of(status), conditions.READY)


def _state(problem: Problem | None, status: BackupRepositoryStatus, note: str) -> State:
    if problem is not None:
        make = conditions.stalled if problem.meaning is Meaning.FINAL else conditions.reconciling
        return make(problem.reason, problem.message)
    room = f"{human_bytes(status.capacity.free_bytes)} free" if status.capacity else "writable"
    return conditions.ready("Writable", f"{room}; {note}" if note else room)


def _capacity(capacity: Capacity) -> RepositoryCapacity:
    return RepositoryCapacity(
        total_bytes=capacity.total,
        free_bytes=capacity.free,
        free=f"{human_bytes(capacity.free)} of {human_bytes(capacity.total)}",
        free_files=capacity.free_files,
    )
