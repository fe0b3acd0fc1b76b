"""What became of a worker: read from its Job and the pods of the Job. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sendense_operator.answer import Answer
from sendense_operator.cluster.containers import has_worker_ended
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import parse_time
from sendense_operator.reconcile.state.kubernetes_objects import (
    answer_of,
    created,
    death_of,
    is_disrupted,
    is_finished,
    job_end,
    newest,
    not_ready_since,
    pod_trouble,
    terminated,
)
from sendense_operator.task import ExitCode


@dataclass(frozen=True)
class Ended:
    """The Job ended, with or without an answer."""

    answer: Answer | None
    reason: str = ""
    message: str = ""
    pod: Obj | None = None


@dataclass(frozen=True)
class Died:
    """The Job failed, and its last worker left no answer: it may have died after its commit."""

    message: str
    pod: Obj | None = None


@dataclass(frozen=True)
class AnswerLost:
    """The Job succeeded, so there is a manifest, but nobody can say what is in it: another worker looks."""

    message: str = "the worker ended well, but its answer is lost"
    pod: Obj | None = None


@dataclass(frozen=True)
class RunningAttempt:
    """A pod works, or will."""

    pod: Obj | None
    trouble: tuple[str, str] | None = None
    """Why it does not start, as (reason, words)."""
    failed_before: str = ""
    """What the attempt before ended with, in words; empty for the first one."""
    is_last: bool = False
    """All pods have ended and the Job makes no other one: it only has yet to end itself."""


@dataclass(frozen=True)
class Lost:
    """The node has been away for too long."""

    node: str
    message: str


@dataclass(frozen=True)
class Lingering:
    """The worker has ended, other containers keep its pod running: it is deleted, so that the Job goes on."""

    pod: Obj
    message: str
    is_last: bool = False
    """The Job makes no other pod after it."""


LINGER_S: Final = 10.0
"""How long other containers may go on once the worker has ended: native sidecars are stopped by the kubelet."""

WorkerObservation = Ended | Died | AnswerLost | RunningAttempt


def observe_worker(job: Obj, pods: Sequence[Obj], remembered: Answer | None) -> WorkerObservation:
    """Return what the Job and its pods say. `remembered`: the answer of a pod that is gone."""
    end = job_end(job)
    pod = newest(pods)
    answer = last_answer(pods) or remembered
    if answer is not None and answer.outcome == "Completed":
        # The manifest is there: whether the Job has noticed, or failed afterwards, changes nothing.
        return Ended(answer, pod=pod)
    if end is None:
        return _attempt(job, pods, remembered)
    if end.succeeded:
        return AnswerLost(pod=pod)
    if end.reason == "DeadlineExceeded":
        return Ended(None, "ActiveDeadlineExceeded", "it took longer than spec.activeDeadlineSeconds allows", pod)
    if answer is not None and (pod is None or answer_of(pod) is not None):
        return Ended(answer, pod=pod)
    # An older answer says nothing of the last worker.
    died = death_of(pod) if pod is not None else end.message
    return Died(f"the worker ended without an answer: {died}", pod)


def last_answer(pods: Sequence[Obj]) -> Answer | None:
    """Return the answer of the newest pod that ended; of any, when it tells of a commit.

    A pod whose other containers fail is replaced by the Job although its worker ended well.
    """
    ended = [pod for pod in pods if has_worker_ended(pod)]
    for answer in map(answer_of, ended):
        if answer is not None and answer.outcome == "Completed":
            return answer
    pod = newest(ended)
    return answer_of(pod) if pod is not None else None


def decide_lingering(job: Obj, pods: Sequence[Obj], now: datetime) -> Ended | Lingering | None:
    """Return what becomes of a live Job whose worker has ended and whose pod goes on with other containers.

    The last attempt's answer is the end, read from the pod: its Job is removed once it is in the status. After any
    other, the pod is deleted, and the Job counts the failure by the exit code of the worker.
    """
    pod = newest(pods)
    if pod is None or not is_lingering(pod, now):
        return None
    answer, code = answer_of(pod), (terminated(pod) or {}).get("exitCode")
    failed = int((job.get("status") or {}).get("failed") or 0)
    is_last = code == ExitCode.FATAL or failed >= job["spec"]["backoffLimit"]
    if answer is not None and is_last:
        return Ended(answer, pod=pod)
    why = f"{answer.reason}: {answer.message}" if answer is not None else death_of(pod)
    return Lingering(pod, f"the worker ended ({why}), other containers of its pod are being stopped", is_last)


def is_lingering(pod: Obj, now: datetime) -> bool:
    """Return whether other containers keep a pod running whose worker ended a while ago."""
    state = terminated(pod)
    ended = parse_time((state or {}).get("finishedAt"))
    return ended is not None and not is_finished(pod) and (now - ended).total_seconds() >= LINGER_S


def _attempt(job: Obj, pods: Sequence[Obj], remembered: Answer | None) -> RunningAttempt:
    alive = newest([pod for pod in pods if not is_finished(pod)])
    ended = newest([pod for pod in pods if is_finished(pod)])
    failures = int((job.get("status") or {}).get("failed") or 0)
    before = ""
    if ended is not None and terminated(ended) is not None:
        answer = answer_of(ended)
        before = f"{answer.reason}: {answer.message}" if answer else death_of(ended)
    elif remembered is not None and (failures or alive is not None):
        # Its pod is gone: it was deleted or evicted, and had answered before.
        before = f"{remembered.reason}: {remembered.message}"
    elif failures:
        before = "the worker was lost"
    if alive is None:
        return RunningAttempt(None, None, before, _has_ended(job, pods))
    return RunningAttempt(alive, pod_trouble(alive), before)


def _has_ended(job: Obj, pods: Sequence[Obj]) -> bool:
    """Return whether a Job whose pods have all ended makes no other one, by its podFailurePolicy and backoffLimit.

    Its own status tells so a moment later. Evicted and drained pods do not count.
    """
    codes = [state.get("exitCode") for pod in pods if (state := terminated(pod)) and not is_disrupted(pod)]
    failed = max(int((job.get("status") or {}).get("failed") or 0), len(codes))
    return bool(codes) and (ExitCode.FATAL in codes or 0 in codes or failed > job["spec"]["backoffLimit"])


def decide_lost(pod: Obj, node: Obj | None, now: datetime, limit_seconds: float) -> Lost | None:
    """Return whether a worker's node has been away for too long.

    `node` is None when the API server knows no such node any more; then the pod's own age counts.
    """
    name = pod["spec"].get("nodeName")
    if not name:
        return None
    since = not_ready_since(node)
    if since is None:
        return None
    away = (now - max(since, created(pod))).total_seconds()
    if away < limit_seconds:
        return None
    what = "is gone" if node is None else "is not ready"
    return Lost(name, f"node {name} {what} for {int(away)} s; its worker can't be reached and was given up")


def still_there(pods: Sequence[Obj]) -> list[Obj]:
    """Return the pods that may still write."""
    return [pod for pod in pods if not is_finished(pod)]
