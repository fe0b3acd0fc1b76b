"""The gateways of a world, as the controller polls them."""

from __future__ import annotations

from tests.support.sample import NAMESPACE
from tests.wiring.clock import Clock

from sendense_operator.vma.sightings import Sightings, StrayCall, StrayJob

EVERY_S = 5.0


class FakeGateways:
    """Two replicas that get each other call of a client; `away`: none of them answers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}
        self._calls: list[tuple[str, str, float]] = []
        self.away = False

    def client_hangs(self, job: str) -> None:
        """A client goes on sending telemetry from now on."""
        self._since[job] = self._clock.seconds

    def clients_end(self) -> None:
        """The appliance's service was restarted."""
        self._since.clear()

    def stray_call(self, pod_uid: str, path_appliance: str) -> None:
        """A call of that worker's job arrives at another appliance's base path."""
        self._calls.append((pod_uid, path_appliance, self._clock.seconds))

    async def read(self) -> list[Sightings]:
        """See `GatewayReader`."""
        now = self._clock.seconds
        if self.away:
            return []
        jobs = []
        for job, since in self._since.items():
            age = now - since
            for replica in (0, 1):
                if age >= replica * EVERY_S:
                    first, last = age - replica * EVERY_S, (age - replica * EVERY_S) % (2 * EVERY_S)
                    jobs.append(
                        (replica, StrayJob(namespace=NAMESPACE, appliance="vma", job=job, first=first, last=last))
                    )
        calls = tuple(
            StrayCall(
                namespace=NAMESPACE,
                appliance="vma",
                pod_uid=uid,
                path_namespace=NAMESPACE,
                path_appliance=path,
                last=now - seen,
            )
            for uid, path, seen in self._calls
        )
        return [
            Sightings(jobs=tuple(job for replica, job in jobs if replica == number), calls=calls if number else ())
            for number in (0, 1)
        ]
