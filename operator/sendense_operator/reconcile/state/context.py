"""What reconciles need, handed in so that tests can put something else there.

One object serves them all. A function names the narrowest of its classes that has what the function uses, so that its
signature says what it can touch, and the type checker refuses the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from sendense_operator.cluster.api_client import Cluster
from sendense_operator.cluster.events import EventRecorder
from sendense_operator.reconcile.state.appliance_limiter import ApplianceLimiter
from sendense_operator.reconcile.state.hints import (
    ApplianceHints,
    BackupHints,
    ChainJobHints,
    MaintenanceHints,
    RepositoryHints,
    RepositoryMessages,
    RestoreHints,
    VCenterHints,
    WatchHints,
)
from sendense_operator.reconcile.state.keys import Key
from sendense_operator.reconcile.state.queue_records import QueueSnapshot
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.reconcile.state.unrouted_calls import UnroutedCalls
from sendense_operator.task import Progress
from sendense_operator.vma.callback_keys import CallbackKeys
from sendense_operator.vma.credentials import Credentials
from sendense_operator.vma.messages import CBTStatus, Inventory, VMAHealth
from sendense_operator.vma.sightings import Sightings


class Appliance(Protocol):
    """What the controller asks a VMA. Raises VMAError's subclasses only."""

    async def health(self) -> VMAHealth:
        """Return its own word on its health."""
        ...

    async def discover(
        self, credentials: Credentials, vcenter: str, datacenter: str, name_filter: str = ""
    ) -> Inventory:
        """Return the VMs of a datacenter."""
        ...

    async def cbt_status(self, credentials: Credentials, vcenter: str, vm_path: str) -> CBTStatus:
        """Return whether Changed Block Tracking is on for a VM."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class GatewayReader(Protocol):
    """Reads what the gateways saw."""

    async def read(self) -> list[Sightings]:
        """Return what each gateway that answers says."""
        ...


class Connector(Protocol):
    """Makes a client for a VMA."""

    def __call__(self, url: str, ca_bundle: str | None, timeout: float) -> Appliance:
        """`ca_bundle`: PEM text. Raises ValueError for a URL or a bundle that can't be used."""
        ...


def _utc_now() -> datetime:
    return datetime.now(UTC)


class WorkerReader(Protocol):
    """Reads workers' status."""

    async def progress(self, address: str) -> Progress | None:
        """Return what the worker at that IP address says; None when it does not answer, or not sensibly."""
        ...

    async def cancel(self, address: str) -> bool:
        """Request a worker to end its attempt; whether it heard that."""
        ...


@dataclass(kw_only=True)
class ReconcileContext:
    """What every reconcile may use."""

    cluster: Cluster
    settings: Settings
    events: EventRecorder
    enqueue: Callable[[Key, float], None]
    """Check something in so many seconds."""
    now: Callable[[], datetime] = _utc_now
    monotonic: Callable[[], float] = time.monotonic

    def again(self, key: Key, delay: float = 0.0) -> None:
        """Shorthand for `enqueue`."""
        self.enqueue(key, delay)


@dataclass(kw_only=True)
class VCenterContext(ReconcileContext):
    """Also what is needed to ask vCenter about VMs, through an appliance."""

    connect: Connector
    vcenter_hints: VCenterHints = field(default_factory=VCenterHints)
    turns: ApplianceLimiter = field(init=False)
    """Who may ask an appliance now."""

    def __post_init__(self) -> None:
        self.turns = ApplianceLimiter(self.again)


@dataclass(kw_only=True)
class ApplianceContext(VCenterContext):
    """Also what is needed for an appliance's status, its discovery, and calls that reach no worker."""

    gateways: GatewayReader
    callback_keys: CallbackKeys
    """What the base paths of callbacks are derived from."""
    appliance_hints: ApplianceHints = field(default_factory=ApplianceHints)
    unrouted_calls: UnroutedCalls = field(default_factory=UnroutedCalls)


@dataclass(kw_only=True)
class ChainContext(ReconcileContext):
    """Also what is known of restore points, and messages to the reconciles of repositories."""

    repository_hints: RepositoryHints = field(default_factory=RepositoryHints)
    repository_messages: RepositoryMessages = field(default_factory=RepositoryMessages)


@dataclass(kw_only=True)
class RestorePointContext(ChainContext):
    """Also what is needed to write Backups, which their own reconciles and the scan of a repository do."""

    backup_hints: BackupHints = field(default_factory=BackupHints)
    watch_hints: WatchHints = field(default_factory=WatchHints)


@dataclass(kw_only=True)
class RepositoryContext(RestorePointContext):
    """Also what is remembered of maintenance pods."""

    maintenance_hints: MaintenanceHints = field(default_factory=MaintenanceHints)


@dataclass(kw_only=True)
class ChainJobContext(RestorePointContext):
    """Also what is needed to start and to follow Jobs that work on a chain: verifications and consolidations."""

    workers: WorkerReader
    verification_hints: ChainJobHints = field(default_factory=ChainJobHints)
    consolidation_hints: ChainJobHints = field(default_factory=ChainJobHints)
    chain_slots: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from reading the Jobs until a new one is made, so that no slot and no claim is given twice."""


@dataclass(kw_only=True)
class RestoreContext(RestorePointContext):
    """Also what is needed to start and to follow restores."""

    workers: WorkerReader
    restore_hints: RestoreHints = field(default_factory=RestoreHints)
    restore_slots: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from reading the Jobs until a new one is made, so that no slot and no claim is given twice."""


@dataclass(kw_only=True)
class BackupContext(RestorePointContext, VCenterContext):
    """Also what is needed to start and to follow workers."""

    workers: WorkerReader
    admission: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from reading the Jobs until a new one is made, so that no slot is given twice."""
    snapshots: dict[str, QueueSnapshot] = field(default_factory=dict)
    """By namespace: what the admission read a moment ago."""
    unrouted_calls: UnroutedCalls = field(default_factory=UnroutedCalls)


@dataclass(kw_only=True)
class Context(BackupContext, ChainJobContext, RestoreContext, RepositoryContext, ApplianceContext):
    """All of it, made once at start. Each reconcile takes its part."""
