"""What is known of calls that reach no worker, over all gateways. Pure; times are monotonic seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sendense_operator.object_key import ObjectKey
from sendense_operator.vma.sightings import Sightings, StrayCall

STUCK_AFTER_S: Final = 20.0
"""A client of a full ends within 11 s of its export's end, and sends telemetry until then."""
FORGET_S: Final = 60.0
"""Telemetry comes every 5 s: one that was not heard for so long has ended."""
CALL_SHOWN_S: Final = 900.0
_MAX_JOBS: Final = 2048
_MAX_CALLS: Final = 1024

_NOWHERE: Final = "Nowhere"
"""Denial of a call that no gateway has seen: a worker waits for it."""


@dataclass
class _Job:
    first: float
    last: float


@dataclass
class UnroutedCalls:
    """Of all gateways, so a restarted or unreachable replica takes nothing away."""

    since: float | None = None
    """When a gateway first answered this process."""
    _jobs: dict[tuple[str, str, str], _Job] = field(default_factory=dict)
    _calls: dict[tuple[str, str, str, str], tuple[StrayCall, float]] = field(default_factory=dict)
    _heard: float = 0.0
    _told: set[tuple[ObjectKey, tuple[str, ...]]] = field(default_factory=set)

    def take(self, reports: Iterable[Sightings], now: float) -> None:
        """Take over what gateways said."""
        self.since = now if self.since is None else self.since
        self._heard = now
        for report in reports:
            for job in report.jobs:
                key = (job.namespace, job.appliance, job.job)
                first, last = now - job.first, now - job.last
                seen = self._jobs.setdefault(key, _Job(first, last))
                seen.first, seen.last = min(seen.first, first), max(seen.last, last)
            for call in report.calls:
                where = (call.pod_uid, call.path_namespace, call.path_appliance, call.denial)
                before = self._calls.get(where)
                moment = now - call.last
                if before is None or before[1] < moment:
                    self._calls[where] = (call, moment)
        self._forget(now)

    def note_silence(self, place: ObjectKey, pod_uid: str, silent: bool, now: float) -> None:
        """Take over what a worker of this appliance reports: whether its callbacks are missing altogether."""
        where = (pod_uid, *place, _NOWHERE)
        if not silent:
            self._calls.pop(where, None)
            return
        call = StrayCall(
            namespace=place[0],
            appliance=place[1],
            pod_uid=pod_uid,
            path_namespace=place[0],
            path_appliance=place[1],
            denial=_NOWHERE,
            last=0,
        )
        self._calls[where] = (call, now)

    def stuck(self, place: ObjectKey) -> list[str]:
        """Return the appliance's jobs whose clients live on though no worker runs them, in a stable order."""
        return sorted(key[2] for key, seen in self._jobs.items() if key[:2] == place and self._is_stuck(seen))

    def _is_stuck(self, seen: _Job) -> bool:
        """Measured at the last answer of a gateway: while none answers, nobody's telemetry has ended."""
        return self._heard - seen.last <= FORGET_S and seen.last - seen.first >= STUCK_AFTER_S

    @property
    def is_settled(self) -> bool:
        """Whether whoever is not known by now does not hang any more: gateways have answered for long enough."""
        return self.since is not None and self._heard - self.since > FORGET_S + STUCK_AFTER_S

    def calls_of(self, place: ObjectKey, now: float) -> list[StrayCall]:
        """Return the stray calls that workers of this appliance should have had, the most telling first."""
        found = [
            one
            for one in self._calls.values()
            if (one[0].namespace, one[0].appliance) == place and now - one[1] <= CALL_SHOWN_S
        ]
        return [call for call, _ in sorted(found, key=_telling, reverse=True)]

    def call_of_pod(self, pod_uid: str) -> StrayCall | None:
        """Return the most telling stray call of that worker's job."""
        found = [one for one in self._calls.values() if one[0].pod_uid == pod_uid]
        return max(found, key=_telling)[0] if found else None

    def news(self, now: float) -> set[ObjectKey]:
        """Return the appliances of which something else is known than at the last call; what ages out is news, too."""
        before, self._told = self._told, self._summary(now)
        return {place for place, _ in before ^ self._told}

    def _summary(self, now: float) -> set[tuple[ObjectKey, tuple[str, ...]]]:
        """Return what an appliance's status depends on, as comparable entries."""
        jobs = {(ObjectKey(*key[:2]), key[2:]) for key, seen in self._jobs.items() if self._is_stuck(seen)}
        calls = {
            (ObjectKey(call.namespace, call.appliance), key)
            for key, (call, moment) in self._calls.items()
            if now - moment <= CALL_SHOWN_S
        }
        return jobs | calls

    def _forget(self, now: float) -> None:
        jobs = sorted(self._jobs.items(), key=lambda one: one[1].last)[-_MAX_JOBS:]
        self._jobs = {key: seen for key, seen in jobs if now - seen.last <= FORGET_S}
        calls = sorted(self._calls.items(), key=lambda one: one[1][1])[-_MAX_CALLS:]
        self._calls = {key: one for key, one in calls if now - one[1] <= CALL_SHOWN_S}


def _telling(one: tuple[StrayCall, float]) -> tuple[bool, float]:
    """For an order: a call that arrived somewhere says more than one that did not, and a later one more."""
    return one[0].denial != _NOWHERE, one[1]


def describe_call(call: StrayCall) -> str:
    """Say for a person where a job's callbacks arrive, and what to do."""
    if call.denial == _NOWHERE:
        return (
            "the appliance copies, but none of its callbacks has arrived for a minute: set its control-plane URL to "
            f"status.callbackURL of VMwareAppliance {call.appliance}, and check that the appliance reaches that "
            "address (name, firewall, tunnel). Without callbacks the copy can't be completed"
        )
    if not call.denial:
        same = call.path_namespace == call.namespace
        whose = f"VMwareAppliance {call.path_appliance}" if same else "a VMwareAppliance of another namespace"
        where = f"arrive at the callback URL of {whose}"
    elif call.denial == "Address":
        return (
            "callbacks come from an address that is in none of the networks of spec.callbacks.allowedFrom of "
            f"VMwareAppliance {call.appliance}, and are refused: see the gateway's address remarks in the documentation"
        )
    else:
        where = {
            "BarePath": "arrive at a callback path without its secret part, and are refused",
            "FormerPath": "arrive at a callback URL from before a rotation, and are refused",
        }.get(call.denial, "arrive at a path that is no callback URL, and are refused")
    return (
        f"the appliance's callbacks {where}. Set its control-plane URL to status.callbackURL of VMwareAppliance "
        f"{call.appliance}; one appliance serves one VMwareAppliance object"
    )
