"""VMwareAppliance: a VMA, and the vCenter that it reads from."""

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
    """Host name or address at which the appliance reaches vCenter."""
    credentials_secret_ref: SecretRef
    """Secret with the keys `username` and `password`."""


class CASecretRef(Model):
    """A CA bundle in a Secret of the same namespace."""

    name: SubdomainName
    """Name of the Secret."""
    key: SecretKey = "ca.crt"
    """Key that holds the PEM bundle."""


class TLS(Model):
    """TLS of a proxy in front of the appliance; the appliance itself speaks plain HTTP."""

    ca_secret_ref: CASecretRef
    """CA bundle that the server's certificate is verified with."""


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
    """How the appliance reaches the workers' NBD exports. The connections have neither encryption nor a password."""

    exposure: Exposure = Exposure.NODE_PORT
    """PodIP: the pod's address. NodePort: one Service per Backup. HostPort: ports of the node from portRange, for
    example those that a tunnel forwards; Pod Security `baseline` and `restricted` forbid it."""
    advertised_host: Host | None = None
    """Host that the appliance receives instead of the pod's or node's address, such as the far end of a tunnel."""
    port_range: PortRange = PortRange()
    """Ports for HostPort, one per disk."""
    allowed_from: Annotated[list[CIDR], Field(max_length=32)] = []
    """Networks that may connect to the exports. A NetworkPolicy per worker enforces it, and the worker ends an attempt
    when it sees a connection from elsewhere. NodePort and HostPort require it; 0.0.0.0/0 and ::/0 allow everybody.
    Empty, with PodIP only: any."""


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
    """URL at which the appliance reaches the gateway; absent: the operator's setting. status.callbackURL is this URL
    with the path added."""
    rotation: Annotated[int, Field(ge=0, le=999_999)] = 0
    """Increase it to get a new secret part in status.callbackURL, then set the new URL on the appliance. The old one
    stops working at once unless acceptFormerPaths is set."""
    accept_former_paths: bool = False
    """Also accepts the path without a secret part, the path before the last rotation, and the paths of the operator's
    previous key. Set it only while the URL on the appliance is being changed: a path without a secret part can be
    guessed."""
    allowed_from: Annotated[list[CIDR], Field(max_length=32)] = []
    """Networks that callbacks may come from; empty: any. The address that the gateway's pod sees is compared: behind a
    proxy or tunnel the address of that, and behind a NodePort or LoadBalancer the address of a node, unless the
    Service's externalTrafficPolicy is Local."""


class ZeroWrites(StrEnum):
    """How the exports treat the appliance's WRITE_ZEROES requests."""

    REFUSE = "Refuse"
    TRUST = "Trust"


class FullCoverage(StrEnum):
    """What a full copy of this appliance writes."""

    WHOLE_DISK = "WholeDisk"
    ALLOCATED_ONLY = "AllocatedOnly"


class ChangeIDAsks(StrEnum):
    """Which disk the appliance names in its change-ID requests."""

    ALWAYS_ZERO = "AlwaysZero"
    OWN_DISK = "OwnDisk"


class CallbackRetries(StrEnum):
    """What the appliance does when a callback is not answered with 200."""

    NEVER = "Never"
    UNTIL_ANSWERED = "UntilAnswered"


class Traits(Model):
    """How this build of the appliance behaves. The defaults are safe for every build in the field."""

    zero_writes: ZeroWrites = ZeroWrites.REFUSE
    """Refuse: the export refuses WRITE_ZEROES, because builds in the field send it for blocks that are not zero. Trust:
    the export accepts it."""
    full_coverage: FullCoverage = FullCoverage.WHOLE_DISK
    """WholeDisk: a full writes each block, so a gap is a lost write and the backup fails. AllocatedOnly: gaps are
    holes, which read as zeroes."""
    change_id_asks: ChangeIDAsks = Field(default=ChangeIDAsks.ALWAYS_ZERO, alias="changeIDAsks")
    """Which disk a change-ID request names. AlwaysZero: always disk 0, which stands for the disk that is copied next.
    OwnDisk: the disk that it is for."""
    callback_retries: CallbackRetries = CallbackRetries.NEVER
    """Never: the appliance's job fails when a callback is lost, so a job without a connection fails after
    timeouts.reconnectSeconds. UntilAnswered: the appliance repeats the callback, so such a job gets at least
    timeouts.stallSeconds."""


class Timeouts(Model):
    """Seconds of silence of the appliance after which an attempt fails, by stage."""

    first_sign_seconds: _Wait = 300
    """From the accepted start to the first progress report or callback."""
    first_sign_cbt_seconds: _Wait = 900
    """The same if Changed Block Tracking has to be turned on first."""
    snapshot_seconds: _Wait = 1800
    """From the first progress report to the first change-ID request: the snapshot is created."""
    connect_seconds: _Wait = 120
    """From a disk's change-ID request to a connection on its export."""
    reconnect_seconds: _Wait = 180
    """Without any connection while disks are incomplete. Keep it longer than the time for which the gateway holds a
    callback."""
    stall_seconds: _Wait = 1800
    """With a connection, but without a byte received."""
    stall_unhealthy_seconds: _Wait = 300
    """The same while the appliance's health check also fails."""
    cancel_seconds: _Wait = 600
    """How long the export of a cancelled increment stays open while data arrives: without it, the appliance's client
    would hang."""
    request_seconds: _Wait = 30
    """Timeout of one call to the appliance."""


class VMwareApplianceSpec(Model):
    """Where the VMA is, and how it and the cluster reach each other."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.nbd.exposure == 'PodIP' || size(self.nbd.allowedFrom) > 0",
                "spec.nbd.allowedFrom must name the networks that the appliance connects from when exposure is "
                "NodePort or HostPort; 0.0.0.0/0 lets everybody in",
            ),
            (
                "self.nbd.allowedFrom.all(cidr, isCIDR(cidr))",
                "spec.nbd.allowedFrom must hold networks in CIDR notation, such as 192.0.2.10/32",
            ),
            (
                "!has(self.tls) || self.url.startsWith('https://')",
                "spec.tls needs an https:// URL in spec.url",
            ),
        )
    )

    url: HttpURL
    """Base URL of the VMA's API, such as http://vma.example:8081. It must not contain credentials."""
    vcenter: VCenter
    """The vCenter that the appliance reads from."""
    tls: TLS | None = None
    """CA bundle for an https URL."""
    nbd: NBD = NBD()
    """How the appliance reaches the workers' exports."""
    callbacks: Callbacks = Callbacks()
    """How the appliance reaches the gateway."""
    max_concurrent_backups: Annotated[int, Field(ge=1, le=1000)] = 4
    """How many Backups may run on this appliance at the same time."""
    health_interval_seconds: Annotated[int, Field(ge=5, le=86_400)] = 60
    """Seconds between two checks of the appliance's health."""
    discovery: DiscoverySpec | None = None
    """Creates a ProtectedVM for each VM that these rules select; absent: ProtectedVMs are created by users."""
    traits: Traits = Traits()
    """How this build of the appliance behaves."""
    timeouts: Timeouts = Timeouts()
    """How long the appliance may be silent before an attempt fails."""


class VMwareApplianceStatus(Status):
    """Reachability and use of the appliance."""

    callback_url: Text | None = Field(default=None, alias="callbackURL")
    """Set this as the control-plane URL on the appliance. Keep it secret: whoever knows it can send callbacks in the
    appliance's name."""
    health: ShortText | None = None
    """Health as the appliance itself reports it."""
    last_contact_time: datetime | None = None
    """When the appliance last answered."""
    active_backups: Count = 0
    """Number of workers that use the appliance now."""
    stuck_clients: Count = 0
    """Number of the appliance's clients that hang: they send telemetry for jobs that no worker runs. Restart the
    appliance's service to end them."""
    stuck_jobs: Annotated[
        list[ShortText],
        Field(max_length=MAX_STUCK_JOBS, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    """Job IDs of the clients that hang, until their telemetry ends."""
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
