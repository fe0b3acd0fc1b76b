"""Counts the controller's calls to appliances, and how they end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.reconcile.state.context import Appliance, Connector
from sendense_operator.vma.credentials import Credentials
from sendense_operator.vma.errors import VMAError, VMARefused, VMAUnreachable
from sendense_operator.vma.messages import CBTStatus, Inventory, VMAHealth

BUCKETS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 90.0)


class Outcome(StrEnum):
    """How a call to an appliance ended."""

    ANSWERED = "Answered"
    REFUSED = "Refused"
    """The appliance answered with an error."""
    UNREACHABLE = "Unreachable"
    INVALID = "Invalid"
    """The answer could not be read."""


class VMACalls:
    """The counters."""

    def __init__(self, registry: CollectorRegistry) -> None:
        calls, times = catalogue.VMA_CALLS, catalogue.VMA_SECONDS
        self._calls = Counter(calls.name, calls.meaning, calls.labels, registry=registry)
        self._seconds = Histogram(times.name, times.meaning, times.labels, buckets=BUCKETS_S, registry=registry)

    @contextmanager
    def calling(self, operation: str) -> Iterator[None]:
        """Count a call."""
        begin = time.monotonic()
        outcome = Outcome.ANSWERED
        try:
            yield
        except VMAError as error:
            outcome = _outcome_of(error)
            raise
        finally:
            self._calls.labels(operation, outcome.value).inc()
            self._seconds.labels(operation).observe(time.monotonic() - begin)

    def measured(self, connect: Connector) -> Connector:
        """Return the same connector, with clients whose calls are counted."""

        def connected(url: str, ca_bundle: str | None, timeout: float) -> Appliance:
            return _MeasuredAppliance(connect(url, ca_bundle, timeout), self)

        return connected


class _MeasuredAppliance:
    """See `context.Appliance`."""

    def __init__(self, appliance: Appliance, calls: VMACalls) -> None:
        self._appliance = appliance
        self._calls = calls

    async def health(self) -> VMAHealth:
        with self._calls.calling("health"):
            return await self._appliance.health()

    async def discover(
        self, credentials: Credentials, vcenter: str, datacenter: str, name_filter: str = ""
    ) -> Inventory:
        with self._calls.calling("discover"):
            return await self._appliance.discover(credentials, vcenter, datacenter, name_filter)

    async def cbt_status(self, credentials: Credentials, vcenter: str, vm_path: str) -> CBTStatus:
        with self._calls.calling("cbt-status"):
            return await self._appliance.cbt_status(credentials, vcenter, vm_path)

    async def aclose(self) -> None:
        await self._appliance.aclose()


def _outcome_of(error: VMAError) -> Outcome:
    match error:
        case VMAUnreachable():
            return Outcome.UNREACHABLE
        case VMARefused():
            return Outcome.REFUSED
        case _:
            return Outcome.INVALID
