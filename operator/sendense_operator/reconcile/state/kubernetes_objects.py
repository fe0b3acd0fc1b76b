"""Reading Kubernetes' own objects: Jobs, pods, nodes. Pure functions of dicts as the API server gives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sendense_operator.answer import Answer
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.cluster.containers import is_worker_running, worker_state
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import parse_time

REQUEST_LIMIT: Final = 256
"""Characters of a requesting annotation that are compared."""
_HARMLESS_WAITS: Final = frozenset({"ContainerCreating", "PodInitializing"})


def labels_of(obj: Obj) -> dict[str, str]:
    """Return labels, empty when there are none."""
    return obj["metadata"].get("labels") or {}


def requested_by(obj: Obj, annotation: str) -> str:
    """Return the value of an annotation by which users request something, at most REQUEST_LIMIT characters of it."""
    return str((obj["metadata"].get("annotations") or {}).get(annotation, ""))[:REQUEST_LIMIT]


def in_no_phase_of(phases: Iterable[Phase]) -> str:
    """Return the field selector of Backups that are in none of these phases."""
    return ",".join(f"status.phase!={phase.value}" for phase in sorted(phases))


def is_deleting(obj: Obj) -> bool:
    """Return whether its deletion has begun."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def created(obj: Obj) -> datetime:
    """Return its creation, by the API server's clock."""
    moment = parse_time(obj["metadata"].get("creationTimestamp"))
    if moment is None:
        raise ValueError("object without a creationTimestamp")
    return moment


def owner_ref(owner: Obj) -> Obj:
    """Return an owner reference that makes the owned object go with `owner`."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_owned_by(obj: Obj, owner: Obj) -> bool:
    """Return whether `obj` was made for exactly this `owner`."""
    uid = owner["metadata"]["uid"]
    return any(ref.get("uid") == uid for ref in obj["metadata"].get("ownerReferences") or [])


@dataclass(frozen=True)
class JobEnd:
    """How a Job ended."""

    succeeded: bool
    reason: str = ""
    message: str = ""
    time: datetime | None = None


def job_end(job: Obj) -> JobEnd | None:
    """Return how the Job ended; None while it runs (a Job whose pods are still being stopped runs)."""
    for condition in (job.get("status") or {}).get("conditions") or []:
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            return JobEnd(
                succeeded=condition["type"] == "Complete",
                reason=condition.get("reason", ""),
                message=condition.get("message", ""),
                time=parse_time(condition.get("lastTransitionTime")),
            )
    return None


def began(job: Obj) -> datetime:
    """Return when the Job controller took the Job up."""
    return parse_time((job.get("status") or {}).get("startTime")) or created(job)


def is_live(job: Obj) -> bool:
    """Return whether pods of this Job run or may still be started."""
    return job_end(job) is None


def host_ports(job: Obj) -> set[int]:
    """Return the ports of the node that the Job's pods take."""
    containers = job["spec"]["template"]["spec"].get("containers") or []
    ports = [port for container in containers for port in container.get("ports") or []]
    return {int(port["hostPort"]) for port in ports if port.get("hostPort")}


def describe_pods(pods: Iterable[Obj]) -> str:
    """Return the names of pods and their nodes, for a message."""
    return ", ".join(sorted(f"{pod['metadata']['name']} on {pod['spec'].get('nodeName') or 'no node'}" for pod in pods))


def newest(pods: Iterable[Obj]) -> Obj | None:
    """Return the latest pod; of two of the same second, the one that is not finished."""
    return max(pods, key=lambda pod: (created(pod), not is_finished(pod), pod["metadata"]["name"]), default=None)


def is_finished(pod: Obj) -> bool:
    """Return whether all of the pod's containers ended for good, the worker and what was added to it."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_disrupted(pod: Obj) -> bool:
    """Return whether the cluster ended the pod (evicted, preempted, drained), which is no failure of its own."""
    found = (pod.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "DisruptionTarget" and c.get("status") == "True" for c in found)


def pod_ip(pod: Obj) -> str | None:
    """Return address of a pod whose worker runs."""
    return (pod.get("status") or {}).get("podIP") if is_worker_running(pod) else None


def terminated(pod: Obj) -> Obj | None:
    """Return the ended state of the worker; None while it has not ended, whatever other containers did."""
    return worker_state(pod).get("terminated") or None


def worker_started(pod: Obj) -> datetime | None:
    """Return when the worker's container started, if it runs."""
    return parse_time((worker_state(pod).get("running") or {}).get("startedAt"))


def answer_of(pod: Obj) -> Answer | None:
    """Return the worker's termination message; None when there is none, or none of ours."""
    message = (terminated(pod) or {}).get("message") or ""
    try:
        return Answer.from_message(message) if message else None
    except ValueError:
        return None


def death_of(pod: Obj) -> str:
    """Return what ended a worker that left no answer, in words."""
    state = terminated(pod)
    if state is None:
        return _never_ran(pod)
    what = state.get("reason") or "Error"
    return f"{what}, exit code {state.get('exitCode')}"


def _never_ran(pod: Obj) -> str:
    status = pod.get("status") or {}
    for container in status.get("initContainerStatuses") or []:
        code = ((container.get("state") or {}).get("terminated") or {}).get("exitCode")
        if code:
            return f"container {container.get('name')} ended with exit code {code} before the worker could start"
    return status.get("message") or status.get("reason") or "it was stopped before it could answer"


def pod_trouble(pod: Obj) -> tuple[str, str] | None:
    """Return why the worker does not start, as (reason, words); None when nothing is wrong, or not yet.

    A container beside the worker that can't start keeps the pod `Pending`, but not the worker from its work; an init
    container does.
    """
    status = pod.get("status") or {}
    if status.get("phase") not in (None, "Pending") or worker_state(pod).keys() & {"running", "terminated"}:
        return None
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return condition.get("reason") or "Unschedulable", condition.get("message", "")
    trouble = _trouble(worker_state(pod))
    if trouble is not None:
        return trouble
    for container in status.get("initContainerStatuses") or []:
        trouble = _trouble(container.get("state") or {})
        if trouble is not None:
            return trouble[0], f"container {container.get('name')}: {trouble[1]}"
    return None


def _trouble(state: Obj) -> tuple[str, str] | None:
    waiting = state.get("waiting") or {}
    if not waiting.get("reason") or waiting["reason"] in _HARMLESS_WAITS:
        return None
    return waiting["reason"], waiting.get("message", "")


def not_ready_since(node: Obj | None) -> datetime | None:
    """Since when a node has not been ready; None when it is. A node that is gone counts from the epoch."""
    if node is None:
        return datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    for condition in (node.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "Ready" and condition.get("status") != "True":
            return parse_time(condition.get("lastTransitionTime"))
    return None


def ready_condition(obj: Obj) -> Obj | None:
    """Return the object's Ready condition, if it speaks of the present spec."""
    generation = obj["metadata"].get("generation")
    for condition in (obj.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "Ready":
            seen = condition.get("observedGeneration")
            return condition if seen is None or generation is None or seen >= generation else None
    return None


QueuePlace = tuple[str, bool, str]


def queue_place(backup: Obj) -> QueuePlace:
    """Place of a Backup among others: oldest first.

    Of those of one second a Full comes first, since the others can be based on it, then a name decides.
    """
    meta = backup["metadata"]
    return meta["creationTimestamp"], backup["spec"].get("type", "Full") != "Full", meta["name"]


def queue_order(backups: Sequence[Obj]) -> list[Obj]:
    """In the order of their places."""
    return sorted(backups, key=queue_place)
