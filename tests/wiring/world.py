"""What happens outside the controller: Jobs make pods, nodes run them, workers copy, an appliance answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import GIB, NAMESPACE, condition, uid_of
from tests.wiring.clock import Clock
from tests.wiring.consolidationworld import ConsolidationWorld
from tests.wiring.ending import Ending
from tests.wiring.fakecluster import FOREGROUND, FakeCluster
from tests.wiring.fakegateways import FakeGateways
from tests.wiring.repositoryworld import RepositoryWorld
from tests.wiring.restoreworld import RestoreWorld
from tests.wiring.verificationworld import VerificationWorld

from sendense_operator.answer import Answer, Capacity
from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.kinds import (
    BACKUP,
    BACKUP_CHAIN,
    BACKUP_REPOSITORY,
    DEFINITION,
    JOB,
    NODE,
    POD,
)
from sendense_operator.cluster.kinds import NAMESPACE as NAMESPACES
from sendense_operator.consolidation_task import ConsolidationTask
from sendense_operator.reconcile.state.kubernetes_objects import (
    created,
    host_ports,
    is_deleting,
    is_finished,
    job_end,
    terminated,
)
from sendense_operator.restore_task import RestoreTask
from sendense_operator.task import BackupTask, ExitCode, ProbeTask, Progress, VerificationTask

__all__ = ["COPY_S", "RESTORE_S", "Ending", "World"]

COPY_S = 12
RESTORE_S = 12
CAPACITY = Capacity(total=100 * GIB, free=50 * GIB)
LEFT = "the appliance's client has ended and removes its snapshot"
_STOP_S = 2


class World:
    """One namespace, one node, one appliance. Time moves by `step`."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cluster = FakeCluster(self.clock)
        self.gateways = FakeGateways(self.clock)
        self.endings: dict[str, list[Ending]] = {}
        """By Backup: how its pods end, one after the other; then they complete."""
        self.started: list[tuple[str, str]] = []
        """Backup and pod UID of each job of the appliance."""
        self.repository = RepositoryWorld()
        self.verification = VerificationWorld(self.repository)
        self.consolidation = ConsolidationWorld(self.repository)
        self.restores = RestoreWorld(self.repository)
        self.unschedulable = False
        self.unmounted = False
        """Containers are being created, and nothing more."""
        self.lost = False
        """The node is away: its pods neither answer nor end."""
        self.mute = False
        """Workers work, but nothing gets through to their status endpoints."""
        self.uncalled = False
        """No callback reaches a worker, though the appliance copies."""
        self.cancel_takes = 2
        """Seconds that a worker needs to cancel on request."""
        self.stuck = False
        """Containers do not stop, on a node that is well."""
        self.later: dict[int, Callable[[], None]] = {}
        """What somebody does at that second."""
        self.beside = ""
        """Another container in each pod: it `fails`, or `stays` when the worker has ended; none when empty."""
        self.most = 0
        """Workers that ran at the same time."""
        self.collisions = 0
        """Seconds in which two workers had the same port of the node."""
        self.looks: list[tuple[float, ProbeTask]] = []
        """When each of a repository's pods began, and what it received."""
        self.hangs: Callable[[ProbeTask], bool] = lambda task: False
        """Which of them never end."""
        self.probe = Answer(outcome="Completed", repository_id="repo-1", capacity=CAPACITY)
        self._age: dict[str, int] = {}
        self._pods: Counter[str] = Counter()
        self.cluster.put(NAMESPACES, {"metadata": {"name": NAMESPACE, "uid": uid_of("Namespace", NAMESPACE)}})
        for kind in (BACKUP, BACKUP_CHAIN, BACKUP_REPOSITORY):
            name = f"{kind.plural}.{names.GROUP}"
            self.cluster.put(DEFINITION, {"metadata": {"name": name, "uid": uid_of("CRD", name)}})
        self.cluster.put(NODE, {"metadata": {"name": "n1", "uid": uid_of("Node", "n1")}, "status": {}})

    def step(self) -> None:
        """One second."""
        self.clock.seconds += 1
        self.later.pop(int(self.clock.seconds), lambda: None)()
        for job in self.cluster.peek(JOB):
            self._job(job)
        for pod in self.cluster.peek(POD):
            if not self.lost:
                self._pod(pod)
        verifying = [pod for pod in self.cluster.peek(POD) if self._verifies(pod)]
        self.verification.most = max(self.verification.most, len(verifying))
        merging = [pod for pod in self.cluster.peek(POD) if self._merges(pod)]
        self.consolidation.most = max(self.consolidation.most, len(merging))
        working = [pod for pod in self.cluster.peek(POD) if self._works(pod)]
        self.most = max(self.most, len(working))
        ports = [port for pod in working for port in host_ports({"spec": {"template": pod}})]
        self.collisions += len(set(ports)) < len(ports)

    def lose_node(self) -> None:
        """The node stops to answer."""
        self.lost = True
        away = condition("Ready", "NodeStatusUnknown", seconds=self.clock.seconds, status="Unknown")
        self.cluster.put(NODE, {**self.cluster.one(NODE, "n1"), "status": {"conditions": [away]}})

    def find_node(self) -> None:
        """It is back."""
        self.lost = False
        back = condition("Ready", "KubeletReady", seconds=self.clock.seconds)
        self.cluster.put(NODE, {**self.cluster.one(NODE, "n1"), "status": {"conditions": [back]}})

    def jobs(self) -> list[str]:
        """Return the names of all workers' Jobs that were ever made."""
        return [name for kind, name in self.cluster.made if kind == "Job" and "-bkp-" in name]

    def worker_jobs(self) -> list[Obj]:
        """Return the workers' Jobs that are there."""
        return [job for job in self.cluster.all(JOB) if "-bkp-" in job["metadata"]["name"]]

    async def progress(self, address: str) -> Progress | None:
        """Return the workers' status endpoint."""
        for pod in self.cluster.peek(POD):
            if pod["status"].get("podIP") == address and self._verifies(pod):
                age = self._age[pod["metadata"]["uid"]]
                return self.verification.progress(_verification_task(pod), age, self.clock.now())
            if pod["status"].get("podIP") == address and self._merges(pod):
                return self.consolidation.progress(self.clock.now())
            if pod["status"].get("podIP") == address and self._restores(pod) and not (self.lost or self.mute):
                return self.restores.progress(_restore_task(pod), self._age[_uid(pod)], self.clock.now())
            if pod["status"].get("podIP") == address and self._works(pod) and not (self.lost or self.mute):
                done = GIB * self._age[pod["metadata"]["uid"]] // COPY_S
                report = sample.report(min(done, GIB), rate=GIB / COPY_S)
                return report.model_copy(update={"callbacks_missing": self.uncalled})
        return None

    async def cancel(self, address: str) -> bool:
        """Return the workers' cancel endpoint: it ends `cancel_takes` seconds later."""
        for pod in self.cluster.peek(POD):
            works = self._works(pod) or self._verifies(pod) or self._restores(pod) or self._merges(pod)
            if pod["status"].get("podIP") == address and works and not (self.lost or self.mute):
                self.later[int(self.clock.seconds) + self.cancel_takes] = partial(self._cancelled, pod)
                return True
        return False

    def _cancelled(self, pod: Obj) -> None:
        same = [there for there in self.cluster.peek(POD) if _uid(there) == _uid(pod)]
        for there in filter(self._verifies, same):
            self._verify(there, cancelled=True)
        for there in filter(self._merges, same):
            self._merge(there, cancelled=True)
        for there in filter(self._restores, same):
            self._end(there, self.restores.cancel(_restore_task(there), self.clock.now()), ExitCode.FATAL)
        for there in filter(self._works, same):
            answer = Answer(outcome="Cancelled", reason="Cancelled", left=LEFT)
            self._end(there, answer, ExitCode.FATAL)

    def _works(self, pod: Obj) -> bool:
        return self._runs(pod, names.COMPONENT_WORKER)

    def _verifies(self, pod: Obj) -> bool:
        return self._runs(pod, names.COMPONENT_VERIFICATION)

    def _merges(self, pod: Obj) -> bool:
        return self._runs(pod, names.COMPONENT_CONSOLIDATION)

    def _restores(self, pod: Obj) -> bool:
        return self._runs(pod, names.COMPONENT_RESTORE)

    def _runs(self, pod: Obj, component: str) -> bool:
        same = pod["metadata"]["labels"][names.LABEL_COMPONENT] == component
        return bool(same and pod["status"]["phase"] == "Running" and terminated(pod) is None)

    # The Job controller.

    def _job(self, job: Obj) -> None:
        pods = [pod for pod in self.cluster.peek(POD) if pod["metadata"]["ownerReferences"][0]["uid"] == _uid(job)]
        if is_deleting(job):
            if not pods:
                finalizers = [name for name in job["metadata"]["finalizers"] if name != FOREGROUND]
                self.cluster.remove(JOB, {**job, "metadata": {**job["metadata"], "finalizers": finalizers}})
            return
        if job_end(job) is not None or job["spec"].get("suspend"):
            return
        active = [pod for pod in pods if not is_finished(pod)]
        verdict = self._verdict(job, pods)
        if verdict is not None:
            for pod in active:
                self.cluster.begin_deletion(POD, pod)
            if not active:  # as podReplacementPolicy Failed has it: only when all pods are gone
                self._update(JOB, job, {"conditions": [verdict]})
        elif not active:
            self._make_pod(job)

    def _verdict(self, job: Obj, pods: list[Obj]) -> Obj | None:
        if any(pod["status"]["phase"] == "Succeeded" for pod in pods):
            return condition("Complete", seconds=self.clock.seconds)
        codes = [self._exit_code(pod) for pod in pods if is_finished(pod)]
        if int(ExitCode.FATAL) in codes:
            return condition("Failed", "PodFailurePolicy", "exit code 42")
        counted = [code for code in codes if code is not None]
        if len(counted) + _failed(job) > job["spec"]["backoffLimit"]:
            return condition("Failed", "BackoffLimitExceeded", "too many failures")
        age = (self.clock.now() - sample.NOON).total_seconds() - _created(job)
        return condition("Failed", "DeadlineExceeded", "late") if age > job["spec"]["activeDeadlineSeconds"] else None

    def _exit_code(self, pod: Obj) -> int | None:
        statuses = pod["status"].get("containerStatuses")
        return int(statuses[0]["state"]["terminated"]["exitCode"]) if statuses else None

    def _make_pod(self, job: Obj) -> None:
        template, meta = job["spec"]["template"], job["metadata"]
        self._pods[meta["name"]] += 1
        name = f"{meta['name']}-{self._pods[meta['name']]}"
        labels = {**template["metadata"]["labels"], "job-name": meta["name"]}
        owner = {"uid": meta["uid"], "kind": "Job", "name": meta["name"], "controller": True}
        self.cluster.put(
            POD,
            {
                "metadata": {
                    "namespace": NAMESPACE,
                    "name": name,
                    "uid": uid_of("Pod", name),
                    "labels": labels,
                    "annotations": dict(template["metadata"].get("annotations") or {}),
                    "ownerReferences": [owner],
                },
                "spec": dict(template["spec"]),
                "status": {"phase": "Pending"},
            },
        )

    # The node.

    def _pod(self, pod: Obj) -> None:
        uid, status = _uid(pod), pod["status"]
        if is_deleting(pod):
            self._age[uid] = max(self._age.get(uid, 0), 1000) + 1
            if is_finished(pod) or (self._age[uid] > 1000 + _STOP_S and not self.stuck):
                if terminated(pod) is not None and not is_finished(pod):
                    self._count_failure(pod)
                self.cluster.remove(POD, pod)
        elif status["phase"] == "Pending":
            self._start(pod)
        elif status["phase"] == "Running" and terminated(pod) is None:
            self._age[uid] += 1
            self._run(pod)

    def _start(self, pod: Obj) -> None:
        if self.unschedulable:
            refused = condition("PodScheduled", "Unschedulable", "no node fits", status="False")
            self._update(POD, pod, {"phase": "Pending", "conditions": [refused]})
            return
        if self.unmounted:
            waiting = {"name": "worker", "state": {"waiting": {"reason": "ContainerCreating"}}}
            self._update(POD, pod, {"phase": "Pending", "containerStatuses": [waiting]})
            return
        uid = _uid(pod)
        self._age[uid] = 0
        pod = {**pod, "spec": {**pod["spec"], "nodeName": "n1"}}
        number = len(self._age)
        self._update(POD, pod, {"phase": "Running", "podIP": f"10.0.{number // 250}.{number % 250}"})
        match pod["metadata"]["labels"][names.LABEL_COMPONENT]:
            case names.COMPONENT_WORKER:
                self.repository.begin(_task(pod))
            case names.COMPONENT_VERIFICATION:
                self.verification.tasks.append(_verification_task(pod))
            case names.COMPONENT_CONSOLIDATION:
                self.consolidation.tasks.append(_consolidation_task(pod))
            case names.COMPONENT_RESTORE:
                self.restores.begin(_restore_task(pod))
            case _:
                self.looks.append((self.clock.seconds, _probe_task(pod)))

    def _run(self, pod: Obj) -> None:
        labels, age = pod["metadata"]["labels"], self._age[_uid(pod)]
        if labels[names.LABEL_COMPONENT] == names.COMPONENT_PROBE:
            self._look_after(pod)
            return
        if labels[names.LABEL_COMPONENT] == names.COMPONENT_VERIFICATION:
            self._verify(pod)
            return
        if labels[names.LABEL_COMPONENT] == names.COMPONENT_CONSOLIDATION:
            self._merge(pod)
            return
        if labels[names.LABEL_COMPONENT] == names.COMPONENT_RESTORE:
            if age >= RESTORE_S and (ending := self.restores.ending(_restore_task(pod), age)) is not Ending.HANG:
                self._finish_restore(pod, ending)
            return
        backup, uid = labels[names.LABEL_BACKUP], labels[names.LABEL_BACKUP_UID]
        if uid in self.repository.points():
            self._committed(pod, uid, adopted=True)
            return
        planned = self.endings.get(backup) or [Ending.COMPLETE]
        if _task(pod).adopt_only:
            self._look(pod, planned)
            return
        if age == 1:
            self.started.append((backup, _uid(pod)))
        if age >= COPY_S and planned[0] is not Ending.HANG:
            self._finish(pod, planned.pop(0), uid)

    def _look(self, pod: Obj, planned: list[Ending]) -> None:
        """One that may only adopt finds nothing, if it does not die as well."""
        if planned.pop(0) is Ending.DIE:
            self._finish(pod, Ending.DIE, "")
        else:
            self._end(pod, sample.failed_answer("WorkerDied", "there is no such backup"), ExitCode.FATAL)

    def _finish(self, pod: Obj, ending: Ending, uid: str) -> None:
        match ending:
            case Ending.COMPLETE:
                self._commit(pod)
            case Ending.COMMIT_AND_VANISH:
                self._commit(pod, answers=False)
                self._job_of(pod, "Complete")
                self.cluster.remove(POD, pod)
            case Ending.COMPLETE_AND_VANISH:
                self._commit(pod)
                self._job_of(pod, "Complete")
                self.cluster.remove(POD, self.cluster.one(POD, pod["metadata"]["name"]))
            case Ending.FULL:
                self._end(pod, sample.failed_answer("RepositoryFull", "10 MiB are free"), ExitCode.FATAL)
            case Ending.FAIL:
                self._end(pod, sample.failed_answer("VMAUnreachable", "no answer"), ExitCode.RETRY)
            case Ending.STUCK:
                reported = {
                    "job_id": names.vma_job_id(_uid(pod)),
                    "stuck_client": True,
                    "finished": self.clock.now(),
                }
                self._end(pod, sample.failed_answer("Stalled").model_copy(update=reported), ExitCode.RETRY)
                self.gateways.client_hangs(names.vma_job_id(_uid(pod)))
            case Ending.FATAL:
                self._end(pod, sample.failed_answer(), ExitCode.FATAL)
            case Ending.COMMIT_AND_DIE:
                self._commit(pod, answers=False)
                self._finish(pod, Ending.DIE, uid)
            case Ending.DIE_AND_LEAVE_A_CLIENT:
                self.gateways.client_hangs(names.vma_job_id(_uid(pod)))
                self._finish(pod, Ending.DIE, uid)
            case Ending.DIE:
                self._stop(pod, "Failed", sample.ended(code=137, reason="Error"))
            case Ending.EVICTED:
                reported = condition("DisruptionTarget", "EvictionByEvictionAPI")
                self._update(POD, pod, {"phase": "Failed", "conditions": [reported]})

    def _job_of(self, pod: Obj, end: str) -> None:
        (job,) = [job for job in self.cluster.peek(JOB) if _uid(job) == _owner(pod)]
        self._update(JOB, job, {"conditions": [condition(end, seconds=self.clock.seconds)]})

    def _commit(self, pod: Obj, *, answers: bool = True) -> None:
        answer = self.repository.commit(_task(pod), names.vma_job_id(_uid(pod)), self.clock.now())
        if answers:
            reported = answer.model_copy(update={"capacity": CAPACITY})
            self._end(pod, reported, ExitCode.COMPLETED if answer.outcome == "Completed" else ExitCode.FATAL)

    def _committed(self, pod: Obj, uid: str, *, adopted: bool = False) -> None:
        answer = self.repository.answer(uid, adopted=adopted)
        self._end(pod, answer.model_copy(update={"capacity": CAPACITY}))

    def _look_after(self, pod: Obj) -> None:
        """A repository's pod."""
        answer, task = self.probe, _probe_task(pod)
        if self.hangs(task):
            return
        if answer.outcome == "Completed":
            answer, log = self.repository.look(task, answer, self._busy())
            self.cluster.logs[pod["metadata"]["name"]] = log
        self._end(pod, answer)

    def _verify(self, pod: Obj, *, cancelled: bool = False) -> None:
        """A chain's pod."""
        if self.verification.deaths:
            self.verification.deaths -= 1
            self._stop(pod, "Failed", sample.ended(code=137, reason="OOMKilled"))
            return
        task, age = _verification_task(pod), self._age[_uid(pod)]
        answer = self.verification.answer(task, age, self.clock.now(), cancelled=cancelled)
        if answer is not None:
            self._end(pod, answer, ExitCode.COMPLETED if answer.outcome == "Completed" else ExitCode.FATAL)

    def _merge(self, pod: Obj, *, cancelled: bool = False) -> None:
        """A chain's pod."""
        world, task = self.consolidation, _consolidation_task(pod)
        if world.deaths:
            world.deaths -= 1
            self._stop(pod, "Failed", sample.ended(code=137, reason="OOMKilled"))
            return
        age, busy = self._age[_uid(pod)], task.vm in self._busy()
        found = world.answer(task, age, self.clock.now(), busy=busy, cancelled=cancelled)
        if found is not None:
            answer, self.cluster.logs[pod["metadata"]["name"]] = found
            self._end(pod, answer, ExitCode.COMPLETED if answer.outcome == "Completed" else ExitCode.FATAL)

    def _finish_restore(self, pod: Obj, ending: Ending) -> None:
        if ending not in (Ending.COMPLETE, Ending.COMPLETE_AND_VANISH):
            self._finish(pod, ending, "")
            return
        answer = self.restores.finish(_restore_task(pod), self.clock.now())
        self._end(pod, answer, ExitCode.COMPLETED if answer.outcome == "Completed" else ExitCode.FATAL)
        if ending is Ending.COMPLETE_AND_VANISH:
            # Nobody saw the pod: neither its end nor its deletion.
            self._job_of(pod, "Complete")
            self.cluster.objects.pop(("Pod", NAMESPACE, pod["metadata"]["name"]))

    def _busy(self) -> frozenset[str]:
        """Return VMs that a worker writes to."""
        return frozenset(
            pod["metadata"]["labels"][names.LABEL_VM] for pod in self.cluster.peek(POD) if self._works(pod)
        )

    def _end(self, pod: Obj, answer: Answer, code: ExitCode = ExitCode.COMPLETED) -> None:
        phase = "Failed" if code else "Succeeded"
        self._stop(pod, phase, sample.ended(answer.to_message(), code=int(code)))

    def _stop(self, pod: Obj, phase: str, worker: list[Obj]) -> None:
        """The worker has ended, and with it its pod, unless it has another container."""
        worker[0]["state"]["terminated"]["finishedAt"] = sample.stamp(self.clock.seconds)
        phase = {"fails": "Failed", "stays": "Running"}.get(self.beside, phase)
        self._update(POD, pod, {"phase": phase, "containerStatuses": worker})

    def _count_failure(self, pod: Obj) -> None:
        for job in self.cluster.peek(JOB):
            if _uid(job) == _owner(pod):
                self._update(JOB, job, {"failed": _failed(job) + 1})

    def _update(self, kind: Any, obj: Obj, status: Obj) -> None:
        self.cluster.put(kind, {**obj, "status": {**obj.get("status", {}), **status}})


def _task(pod: Obj) -> BackupTask:
    return BackupTask.model_validate_json(pod["metadata"]["annotations"][names.ANNOTATION_TASK])


def _probe_task(pod: Obj) -> ProbeTask:
    return ProbeTask.model_validate_json(pod["metadata"]["annotations"][names.ANNOTATION_TASK])


def _verification_task(pod: Obj) -> VerificationTask:
    return VerificationTask.model_validate_json(pod["metadata"]["annotations"][names.ANNOTATION_TASK])


def _consolidation_task(pod: Obj) -> ConsolidationTask:
    return ConsolidationTask.model_validate_json(pod["metadata"]["annotations"][names.ANNOTATION_TASK])


def _restore_task(pod: Obj) -> RestoreTask:
    return RestoreTask.model_validate_json(pod["metadata"]["annotations"][names.ANNOTATION_TASK])


def _uid(obj: Obj) -> str:
    return str(obj["metadata"]["uid"])


def _owner(pod: Obj) -> str:
    return str(pod["metadata"]["ownerReferences"][0]["uid"])


def _created(obj: Obj) -> float:
    return (created(obj) - sample.NOON).total_seconds()


def _failed(job: Obj) -> int:
    return int((job.get("status") or {}).get("failed", 0))
