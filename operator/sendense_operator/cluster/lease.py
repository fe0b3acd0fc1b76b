"""Leader election by a Lease: of several controllers one works, the others idle.

The client library's election is not used: an unreachable API server ends it with an exception, it never
releases the Lease, and it measures time with the wall clock. Here, as in client-go, another holder's Lease is
expired when it was *seen* unchanged for its whole duration, by the local monotonic clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sendense_operator.cluster.api_client import Cluster, find
from sendense_operator.cluster.errors import ClusterError
from sendense_operator.cluster.kinds import LEASE
from sendense_operator.cluster.objects import Obj
from sendense_operator.logs import get_logger

DURATION_S: Final = 15
RENEW_DEADLINE_S: Final = 10.0
RETRY_S: Final = 2.0
_log = get_logger(__name__)


@dataclass(frozen=True)
class LeaseObservation:
    """A Lease's state and since when (monotonic seconds) it has been seen like that."""

    fingerprint: tuple[str, str]
    since: float


def holder_of(lease: Obj) -> str:
    """Identity in the Lease, empty when it was released."""
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def observe(lease: Obj, seen: LeaseObservation | None, now: float) -> LeaseObservation:
    """Return what is known of the Lease after looking at it at `now`."""
    fingerprint = (holder_of(lease), str((lease.get("spec") or {}).get("renewTime") or ""))
    return seen if seen is not None and seen.fingerprint == fingerprint else LeaseObservation(fingerprint, now)


def may_take(lease: Obj, seen: LeaseObservation, identity: str, now: float) -> bool:
    """Return whether `identity` may write itself into the Lease."""
    holder = holder_of(lease)
    duration = float((lease.get("spec") or {}).get("leaseDurationSeconds") or DURATION_S)
    return holder in ("", identity) or now - seen.since > duration


class LeaderElection:
    """Holds the Lease, or waits for it. `leading` is set while this process may write."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, identity: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._seen: LeaseObservation | None = None
        self._renewed = 0.0
        self.last_try = time.monotonic()
        """When the election last finished a step (monotonic), for the liveness probe."""
        self.leading = asyncio.Event()

    async def run(self, on_gained: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Until cancelled; then the Lease is released. `on_lost` must stop all writing at once."""
        try:
            while True:
                await self._step(on_gained, on_lost)
                self.last_try = time.monotonic()
                await asyncio.sleep(RETRY_S)
        finally:
            if self.leading.is_set():
                self.leading.clear()
                on_lost()
                await self._release()

    async def _step(self, on_gained: Callable[[], None], on_lost: Callable[[], None]) -> None:
        try:
            # An API server that hangs must not make the holder miss its own deadline.
            async with asyncio.timeout(RENEW_DEADLINE_S / 2):
                held = await self._try()
        except (ClusterError, TimeoutError) as error:
            _log.warning("lease not renewed", error=str(error) or "no answer")
            held = False
            if self.leading.is_set() and time.monotonic() - self._renewed < RENEW_DEADLINE_S - RETRY_S:
                return
        if held and not self.leading.is_set():
            _log.info("leading", identity=self._identity)
            self.leading.set()
            on_gained()
        elif not held and self.leading.is_set():
            _log.error("lost the lease: idling")
            self.leading.clear()
            on_lost()

    async def _try(self) -> bool:
        started = time.monotonic()
        lease = await find(self._cluster, LEASE, self._namespace, self._name)
        if lease is None:
            await self._cluster.create(LEASE, self._body(None))
        else:
            self._seen = observe(lease, self._seen, time.monotonic())
            if not may_take(lease, self._seen, self._identity, time.monotonic()):
                return False
            await self._cluster.merge_patch(LEASE, self._namespace, self._name, self._body(lease))
        self._renewed = started
        return True

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(RETRY_S):
                lease = await self._cluster.get(LEASE, self._namespace, self._name)
                if holder_of(lease) == self._identity:
                    patch = {
                        "metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]},
                        "spec": {"holderIdentity": "", "leaseDurationSeconds": 1},
                    }
                    await self._cluster.merge_patch(LEASE, self._namespace, self._name, patch)
        except (ClusterError, TimeoutError) as error:
            _log.info("lease not released", error=error)

    def _body(self, lease: Obj | None) -> Obj:
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec: Obj = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": DURATION_S,
            "renewTime": stamp,
        }
        meta: Obj = {"namespace": self._namespace, "name": self._name}
        if lease is not None:
            # Makes the write fail when another one was faster.
            meta["resourceVersion"] = lease["metadata"]["resourceVersion"]
        if lease is None or holder_of(lease) != self._identity:
            old = (lease or {}).get("spec") or {}
            spec["acquireTime"] = stamp
            spec["leaseTransitions"] = int(old.get("leaseTransitions") or 0) + (1 if lease else 0)
        return {"metadata": meta, "spec": spec}
