"""Keeps what this gateway saw of calls that reach no worker, within bounds. No I/O."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sendense_operator.cluster.worker_index import Worker
from sendense_operator.gateway.caller_check import Origin
from sendense_operator.vma.sightings import (
    MAX_STRAY_CALLS,
    MAX_STRAY_JOBS,
    MAX_STRAY_JOBS_PER_APPLIANCE,
    Sightings,
    StrayCall,
    StrayJob,
)

PAUSE_S: Final = 60.0
"""A job whose telemetry pauses for longer has ended; what comes later begins anew."""
CALL_KEPT_S: Final = 900.0

_Job = tuple[str, str, str]
_Call = tuple[str, str, str, str]


@dataclass(slots=True)
class _Span:
    first: float
    last: float


class UnroutedRecorder:
    """What was seen. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._jobs: OrderedDict[_Job, _Span] = OrderedDict()
        self._calls: OrderedDict[_Call, tuple[Worker, Origin, str, float]] = OrderedDict()

    def stray_telemetry(self, namespace: str, appliance: str, job: str) -> None:
        """Note telemetry, admitted by the appliance's base path, of a job that no worker runs.

        An appliance with too many loses its own oldest one, never another appliance's.
        """
        now = self._clock()
        self._expire(now)
        key = (namespace, appliance, job)
        span = self._jobs.pop(key, None) or _Span(now, now)
        span.last = now
        self._jobs[key] = span
        same = [one for one in self._jobs if one[:2] == key[:2]]
        if len(same) > MAX_STRAY_JOBS_PER_APPLIANCE:
            del self._jobs[same[0]]
        if len(self._jobs) > MAX_STRAY_JOBS:
            self._jobs.popitem(last=False)

    def known_job(self, namespace: str, appliance: str, job: str) -> None:
        """Note that a worker took the job's telemetry: it is no stray."""
        self._jobs.pop((namespace, appliance, job), None)

    def stray_call(self, worker: Worker, origin: Origin, denial: str) -> None:
        """Note a call that `worker` should have had. `denial`: why its path was turned away, empty if it was not."""
        now = self._clock()
        self._expire(now)
        key = (worker.uid, origin.namespace, origin.appliance, denial)
        self._calls.pop(key, None)
        self._calls[key] = (worker, origin, denial, now)
        if len(self._calls) > MAX_STRAY_CALLS:
            self._calls.popitem(last=False)

    def report(self) -> Sightings:
        """Return what the controller receives."""
        now = self._clock()
        self._expire(now)
        return Sightings(
            jobs=tuple(
                StrayJob(namespace=place, appliance=name, job=job, first=now - span.first, last=now - span.last)
                for (place, name, job), span in self._jobs.items()
            ),
            calls=tuple(
                StrayCall(
                    namespace=worker.namespace,
                    appliance=worker.appliance,
                    pod_uid=worker.uid,
                    path_namespace=origin.namespace[:63],
                    path_appliance=origin.appliance[:63],
                    denial=denial,
                    last=now - seen,
                )
                for worker, origin, denial, seen in self._calls.values()
            ),
        )

    def _expire(self, now: float) -> None:
        """Forget what is over. Both are in the order of their last sighting."""
        while self._jobs and now - next(iter(self._jobs.values())).last > PAUSE_S:
            self._jobs.popitem(last=False)
        while self._calls and now - next(iter(self._calls.values()))[3] > CALL_KEPT_S:
            self._calls.popitem(last=False)
