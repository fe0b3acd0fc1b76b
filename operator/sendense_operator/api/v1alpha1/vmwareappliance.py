"""VMwareAppliance: a VMA, and the vCenter it stands beside."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from sendense_operator.api.v1alpha1.base import (
    AGE,
    CIDR,
    MESSAGE,
    READY,
    REASON,
    Column,
    Count,
    Host,
    HttpURL,
    Model,
    Port,
    Resource,
    SecretKey,
    SecretRef,
    ShortText,
    Status,
    SubdomainName,
    Text,
    rules,
)
from sendense_operator.api.v1alpha1.discovery import DiscoverySpec, DiscoveryStatus
from sendense_operator.task import Exposure

MAX_STUCK_JOBS = 32

_Wait = Annotated[int, Field(ge=1, le=86_400)]


class VCenter(Model):
    """The vCenter that the appliance reads from."""

    host: Host
    """Host name or address, as the appliance reaches it."""
    credentials_secret_ref: SecretRef
    """Secret with the keys `username` and `password`."""


class CASecretRef(Model):
    """A CA bundle in a Secret of the same namespace."""

    name: SubdomainName
    """Name of the Secret."""
    key: SecretKey = "ca.crt"
    """Key that holds the PEM bundle."""


class TLS(Model):
    """TLS towards the appliance (a proxy in front of it; the appliance itself speaks plain HTTP)."""

    ca_secret_ref: CASecretRef
    """CA bundle that signs the server's certificate."""


class PortRange(Model):
    """TCP ports that the appliance can reach."""

    model_config = ConfigDict(
        json_schema_extra=rules(("self.first <= self.last", "portRange.first must not be above portRange.last"))
    )

    first: Port = 10100
    """Lowest port."""
    last: Port = 10200
    """Highest port."""


class NBD(Model):
    """How the appliance reaches the workers' NBD exports. It speaks them in plain text and without a password."""

    exposure: Exposure = Exposure.NODE_PORT
    """PodIP: the pod's address; NodePort: a Service a Backup; HostPort: ports of the node out of portRange (a
    tunnel's), which Pod Security `baseline` and `restricted` forbid."""
    advertised_host: Host | None = None
    """Host that the appliance receives instead of the pod's or node's address: the other end of a tunnel."""
    port_range: PortRange = PortRange()
    """Ports for HostPort, one per disk."""
    allowed_from: Annotated[list[CIDR], Field(max_length=32)] = []
    """Networks that may connect to the exports: a NetworkPolicy per worker, and the worker itself ends an attempt when
    it sees anybody else. NodePort and HostPort need it; 0.0.0.0/0 and ::/0 let everybody in. Empty (PodIP): any."""


class Callbacks(Model):
    """How the appliance reaches the gateway."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.allowedFrom) || self.allowedFrom.all(one, isCIDR(one))",
                "callbacks.allowedFrom must hold networks in CIDR notation, such as 192.0.2.0/24",
            )
        )
    )

    base_url: HttpURL | None = Field(default=None, alias="baseURL")
    """URL of the gateway as seen from the appliance; none: the operator's setting. The path is added: see
    status.callbackURL."""
    rotation: Annotated[int, Field(ge=0, le=999_999)] = 0
    """Raise it for a new secret part of status.callbackURL; then set the new URL on the appliance. The old one stops
    working at once unless acceptFormerPaths is set."""
    accept_former_paths: bool = False
    """Accepts, beside status.callbackURL, the path without a secret part, the one before the last rotation, and those
    of the operator's previous key. Only while the appliance is being changed over: the first one is no secret."""
    allowed_from: Annotated[list[CIDR], Field(max_length=32)] = []
    """Networks that callbacks may come from; empty: any. What counts is the address that the gateway's pod sees: behind
    a proxy or tunnel that one's, and behind a NodePort or LoadBalancer a node's, unless its externalTrafficPolicy is
    Local."""


class ZeroWrites(StrEnum):
    """What becomes of the appliance's WRITE_ZEROES requests."""

    REFUSE = "Refuse"
    TRUST = "Trust"


class FullCoverage(StrEnum):
    """What a full copy of this appliance writes."""

    WHOLE_DISK = "WholeDisk"
    ALLOCATED_ONLY = "AllocatedOnly"


class ChangeIDAsks(StrEnum):
    """Which disk the appliance names when it asks for a change id."""

    ALWAYS_ZERO = "AlwaysZero"
    OWN_DISK = "OwnDisk"


class CallbackRetries(StrEnum):
    """What the appliance does about a callback that is not answered with 200."""

    NEVER = "Never"
    UNTIL_ANSWERED = "UntilAnswered"


class Traits(Model):
    """What the appliance can be trusted with. The defaults are safe for every build in the field."""

    zero_writes: ZeroWrites = ZeroWrites.REFUSE
    """Refuse: the export refuses WRITE_ZEROES, since builds in the field guess at zeroes and lose data."""
    full_coverage: FullCoverage = FullCoverage.WHOLE_DISK
    """WholeDisk: a full writes each block, so a gap is a lost write and fails. AllocatedOnly: gaps are holes."""
    change_id_asks: ChangeIDAsks = Field(default=ChangeIDAsks.ALWAYS_ZERO, alias="changeIDAsks")
    """AlwaysZero: a request for disk 0 is meant for the disk whose turn it is. OwnDisk: each request names its disk."""
    callback_retries: CallbackRetries = CallbackRetries.NEVER
    """Never: a callback that gets lost ends the job, so silence is a failure soon. UntilAnswered: the appliance calls
    again, so a job without a connection is given the time of timeouts.stallSeconds."""


class Timeouts(Model):
    """Seconds after which silence of the appliance counts as failure, one per stage."""

    first_sign_seconds: _Wait = 300
    """From the accepted start to the first progress report or callback."""
    first_sign_cbt_seconds: _Wait = 900
    """The same while Changed Block Tracking has to be turned on."""
    snapshot_seconds: _Wait = 1800
    """While the snapshot is created."""
    connect_seconds: _Wait = 120
    """From a disk's question to a connection on its export."""
    reconnect_seconds: _Wait = 180
    """Without any connection while disks are missing. Keep it longer than the gateway holds a call."""
    stall_seconds: _Wait = 1800
    """Connected, but no byte arrives."""
    stall_unhealthy_seconds: _Wait = 300
    """The same while the appliance's health call fails too."""
    cancel_seconds: _Wait = 600
    """How long a cancelled increment keeps its export while data arrives. The appliance's client hangs without it."""
    request_seconds: _Wait = 30
    """One call to the appliance."""


class VMwareApplianceSpec(Model):
    """Where the VMA is and how it and the cluster reach each other."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.nbd.exposure == 'PodIP' || size(self.nbd.allowedFrom) > 0",
                "spec.nbd.allowedFrom must name the networks that the appliance connects from when exposure is "
                "NodePort or HostPort; 0.0.0.0/0 lets everybody in",
            ),
            (
                "self.nbd.allowedFrom.all(cidr, isCIDR(cidr))",
                "spec.nbd.allowedFrom holds an entry that is no network, such as 192.0.2.10/32",
            ),
            (
                "!has(self.tls) || self.url.startsWith('https://')",
                "spec.tls needs an https:// URL in spec.url",
            ),
        )
    )

    url: HttpURL
    """Base URL of the VMA's API, such as http://vma.example:8081. No credentials in it."""
    vcenter: VCenter
    """The vCenter that the appliance reads from."""
    tls: TLS | None = None
    """CA bundle for an https URL."""
    nbd: NBD = NBD()
    """How the appliance reaches the workers' exports."""
    callbacks: Callbacks = Callbacks()
    """How the appliance reaches the gateway."""
    max_concurrent_backups: Annotated[int, Field(ge=1, le=1000)] = 4
    """Backups that may run at the same time on this appliance."""
    health_interval_seconds: Annotated[int, Field(ge=5, le=86_400)] = 60
    """How often the appliance's health is asked for."""
    discovery: DiscoverySpec | None = None
    """Makes a ProtectedVM for each VM that these rules ask for; none: VMs are named by hand."""
    traits: Traits = Traits()
    """What the appliance can be trusted with."""
    timeouts: Timeouts = Timeouts()
    """When silence counts as failure."""


class VMwareApplianceStatus(Status):
    """Reachability."""

    callback_url: Text | None = Field(default=None, alias="callbackURL")
    """Set this as the control-plane URL on the appliance. It is a secret: whoever knows it can answer for the
    appliance."""
    health: ShortText | None = None
    """The appliance's own word on its health."""
    last_contact_time: datetime | None = None
    """When it last answered."""
    active_backups: Count = 0
    """Workers that use it now."""
    stuck_clients: Count = 0
    """Client processes on the appliance that hang: they send telemetry for jobs that no worker runs (restart the
    appliance's service to free them)."""
    stuck_jobs: Annotated[
        list[ShortText],
        Field(max_length=MAX_STUCK_JOBS, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    """Their job IDs, until their telemetry ends."""
    discovery: DiscoveryStatus | None = None
    """What the last discovery found."""


VMWARE_APPLIANCE = Resource(
    kind="VMwareAppliance",
    plural="vmwareappliances",
    short_name="vma",
    description="A VMA: the appliance beside a vCenter that reads VM disks and writes them to NBD exports.",
    spec=VMwareApplianceSpec,
    status=VMwareApplianceStatus,
    columns=(
        Column("URL", ".spec.url"),
        READY,
        REASON,
        Column("Active", ".status.activeBackups", "integer"),
        AGE,
        Column("VMs", ".status.discovery.matched", "integer", priority=1),
        Column("VCenter", ".spec.vcenter.host", priority=1),
        Column("Callback", ".status.callbackURL", priority=1),
        MESSAGE,
    ),
)
