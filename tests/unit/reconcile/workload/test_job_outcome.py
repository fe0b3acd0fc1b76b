"""What became of a worker, from its Job and its pods."""

from __future__ import annotations

import pytest
from tests.support.objects import Obj
from tests.support.sample import at, completed_answer, condition, ended, failed_answer, job, pod, stamp

from sendense_operator.answer import Answer
from sendense_operator.reconcile.workload.job_outcome import (
    LINGER_S,
    AnswerLost,
    Died,
    Ended,
    Lingering,
    RunningAttempt,
    WorkerObservation,
    decide_lingering,
    decide_lost,
    last_answer,
    observe_worker,
    still_there,
)
from sendense_operator.task import ExitCode

DONE = completed_answer()
BAD = failed_answer()
COMPLETE, FAILED = condition("Complete"), condition("Failed", "BackoffLimitExceeded", "too many")
DIED = "the worker ended without an answer: "
LATE = condition("Failed", "DeadlineExceeded", "late")


def said(answer: Answer, name: str = "p1", *, age: float = 0) -> Obj:
    phase = "Succeeded" if answer.outcome == "Completed" else "Failed"
    return pod(name, phase, age=age, containerStatuses=ended(answer.to_message(), code=int(phase == "Failed")))


GARBLED = pod("p1", "Succeeded", containerStatuses=ended("garbage"))
SILENT = pod("p1", "Failed", containerStatuses=ended(code=137, reason="OOMKilled"))


@pytest.mark.parametrize(
    ("conditions", "pods", "remembered", "expected"),
    [
        ([], [], None, RunningAttempt(None)),
        ([], [pod()], None, RunningAttempt(pod())),
        ([], [said(DONE)], None, Ended(DONE, pod=said(DONE))),
        ([COMPLETE], [said(DONE)], None, Ended(DONE, pod=said(DONE))),
        ([COMPLETE], [], DONE, Ended(DONE)),
        ([FAILED], [said(DONE)], None, Ended(DONE, pod=said(DONE))),
        ([COMPLETE], [], None, AnswerLost()),
        ([COMPLETE], [], BAD, AnswerLost()),
        ([COMPLETE], [GARBLED], None, AnswerLost(pod=GARBLED)),
        ([FAILED], [said(BAD)], None, Ended(BAD, pod=said(BAD))),
        ([FAILED], [], BAD, Ended(BAD)),
        ([FAILED], [SILENT], BAD, Died(f"{DIED}OOMKilled, exit code 137", SILENT)),
        ([FAILED], [said(BAD, "p0", age=-5), SILENT], None, Died(f"{DIED}OOMKilled, exit code 137", SILENT)),
        ([], [], BAD, RunningAttempt(None)),
        # Its pod was deleted after it had answered: the attempt ended for the reason that it gave.
        ([], [pod()], BAD, RunningAttempt(pod(), None, f"{BAD.reason}: {BAD.message}")),
    ],
)
def test_observe(
    conditions: list[Obj], pods: list[Obj], remembered: Answer | None, expected: WorkerObservation
) -> None:
    assert observe_worker(job("j1", *conditions), pods, remembered) == expected


EVICTED = pod("p0", "Failed", age=-5, conditions=[{"type": "DisruptionTarget", "status": "True"}])
FATAL = pod("p1", "Failed", containerStatuses=ended(BAD.to_message(), code=ExitCode.FATAL))


@pytest.mark.parametrize(
    ("retries", "pods", "is_last"),
    [
        (0, [], False),
        (0, [said(BAD)], True),
        (0, [SILENT], True),
        (0, [EVICTED], False),
        (0, [EVICTED, pod()], False),
        (0, [EVICTED, said(BAD)], True),
        (1, [said(BAD)], False),
        (1, [said(BAD, "p0", age=-5), said(BAD)], True),
        (1, [said(BAD, "p0", age=-5), pod()], False),
        (5, [FATAL], True),
    ],
)
def test_whether_another_attempt_follows(retries: int, pods: list[Obj], is_last: bool) -> None:
    """Reported from the pods: the Job's own status says so a moment later."""
    there = job("j1")
    there["spec"]["backoffLimit"] = retries
    seen = observe_worker(there, pods, None)
    assert isinstance(seen, RunningAttempt)
    assert seen.is_last is is_last


@pytest.mark.parametrize(
    ("pods", "words"),
    [
        ([SILENT], "OOMKilled, exit code 137"),
        ([], "too many"),
        ([pod("p1", "Failed", reason="Evicted")], "Evicted"),
    ],
)
def test_ended_without_a_word(pods: list[Obj], words: str) -> None:
    seen = observe_worker(job("j1", FAILED), pods, None)
    assert isinstance(seen, Died)
    assert words in seen.message


@pytest.mark.parametrize("pods", [[], [said(BAD)], [SILENT]])
def test_a_job_that_took_too_long(pods: list[Obj]) -> None:
    seen = observe_worker(job("j1", LATE), pods, None)
    assert isinstance(seen, Ended)
    assert (seen.answer, seen.reason) == (None, "ActiveDeadlineExceeded")
    assert "activeDeadlineSeconds" in seen.message


@pytest.mark.parametrize(
    ("pods", "failed", "before"),
    [
        ([pod()], 0, ""),
        ([pod()], 1, "the worker was lost"),
        ([said(BAD), pod("p2", age=5)], 1, "WritesLost: bytes are missing"),
        ([SILENT, pod("p2", age=5)], 1, "OOMKilled, exit code 137"),
        ([said(BAD)], 1, "WritesLost: bytes are missing"),
    ],
)
def test_what_the_attempt_before_ended_with(pods: list[Obj], failed: int, before: str) -> None:
    seen = observe_worker(job("j1", failed=failed), pods, None)
    assert isinstance(seen, RunningAttempt)
    assert seen.failed_before == before
    assert seen.pod == next((p for p in pods if p["status"]["phase"] == "Running"), None)


def test_trouble_of_a_pod_that_does_not_start() -> None:
    refused = condition("PodScheduled", "Unschedulable", "no node", status="False")
    seen = observe_worker(job(), [pod(phase="Pending", node=None, conditions=[refused])], None)
    assert isinstance(seen, RunningAttempt)
    assert seen.trouble == ("Unschedulable", "no node")


def test_the_newest_answer_counts() -> None:
    assert last_answer([said(BAD, age=0), said(DONE, "p2", age=5)]) == DONE
    other = failed_answer("VMAUnreachable")
    assert last_answer([said(other, age=0), said(BAD, "p2", age=5)]) == BAD


def test_a_commit_counts_whatever_the_pods_after_it_say() -> None:
    """Another container of the first pod failed, so the Job made a second one."""
    assert last_answer([said(DONE, age=0), said(BAD, "p2", age=5)]) == DONE
    with_foreign = pod("p1", "Failed", containerStatuses=[*FOREIGN_FAILED, *ended(DONE.to_message())])
    assert observe_worker(job("j1"), [with_foreign, pod("p2", age=5)], None) == Ended(DONE, pod=pod("p2", age=5))


FOREIGN_FAILED = [
    {"name": "proxy", "state": {"terminated": {"exitCode": 42, "reason": "Error", "message": BAD.to_message()}}}
]


@pytest.mark.parametrize("phase", ["Running", "Pending"])
def test_what_another_container_says_is_no_answer(phase: str) -> None:
    running = [*FOREIGN_FAILED, {"name": "worker", "state": {"running": {"startedAt": stamp()}}}]
    found = pod("p1", phase, podIP="10.0.0.1", containerStatuses=running)
    assert observe_worker(job("j1"), [found], None) == RunningAttempt(found)
    assert decide_lingering(job("j1"), [found], at(1000)) is None


def lingering(message: str, code: int) -> Obj:
    (worker,) = ended(message, code=code)
    worker["state"]["terminated"]["finishedAt"] = stamp(100)
    return pod("p1", containerStatuses=[{"name": "proxy", "state": {"running": {}}}, worker])


@pytest.mark.parametrize(
    ("message", "code", "failed", "end"),
    [
        (BAD.to_message(), ExitCode.FATAL, 0, True),
        (BAD.to_message(), ExitCode.RETRY, 0, False),
        (BAD.to_message(), ExitCode.RETRY, 2, True),
        ("", 137, 0, False),
        ("", 137, 2, False),
    ],
)
def test_a_pod_that_another_container_keeps_running(message: str, code: int, failed: int, end: bool) -> None:
    """The last answer is the end; after any other attempt, and after a death, the Job has to go on."""
    found, its_job = lingering(message, code), job("j1", failed=failed)
    its_job["spec"]["backoffLimit"] = 2
    seen = decide_lingering(its_job, [found], at(100 + LINGER_S))
    assert isinstance(seen, Ended if end else Lingering)
    if isinstance(seen, Ended):
        assert (seen.answer, seen.pod) == (BAD, found)
    assert decide_lingering(its_job, [found], at(99 + LINGER_S)) is None, "a native sidecar is just being stopped"
    assert last_answer([said(BAD, age=0), pod("p2", age=5)]) == BAD
    assert last_answer([pod()]) is None


def away(seconds: float = 0) -> Obj:
    return {"status": {"conditions": [condition("Ready", seconds=seconds, status="Unknown")]}}


@pytest.mark.parametrize(
    ("node", "age", "now", "lost"),
    [
        ({"status": {"conditions": [condition("Ready")]}}, 0, 9999, False),
        ({"status": {}}, 0, 9999, False),
        (away(100), 0, 699, False),
        (away(100), 0, 700, True),
        (away(0), 500, 1099, False),  # the pod is younger than the trouble
        (away(0), 500, 1100, True),
        (None, 100, 699, False),
        (None, 100, 700, True),
    ],
)
def test_a_node_is_lost_after_a_while(node: Obj | None, age: float, now: float, lost: bool) -> None:
    verdict = decide_lost(pod(age=age), node, at(now), 600)
    assert (verdict is not None) is lost
    if verdict is not None:
        assert verdict.node == "n1"
        assert "n1" in verdict.message


def test_a_pod_without_a_node_is_not_lost() -> None:
    assert decide_lost(pod(node=None), None, at(9999), 600) is None


def test_who_may_still_write() -> None:
    pods = [pod("a"), pod("b", "Succeeded"), pod("c", "Pending", node=None), pod("d", "Unknown", node="n2")]
    assert [p["metadata"]["name"] for p in still_there(pods)] == ["a", "c", "d"]
