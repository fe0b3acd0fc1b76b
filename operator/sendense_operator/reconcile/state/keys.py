"""What the work queue holds: which object (or which recurring duty) is to be checked."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Work(StrEnum):
    """Kinds of work."""

    BACKUP = "Backup"
    CHAIN = "BackupChain"
    """Name: `VM/REPOSITORY`, since the chain may not be there yet."""
    REPOSITORY = "BackupRepository"
    VM = "ProtectedVM"
    APPLIANCE = "VMwareAppliance"
    DISCOVERY = "Discovery"
    """Of a VMwareAppliance: finds VMs and makes ProtectedVMs for them."""
    WAKE = "Wake"
    """All Backups of the namespace that wait for something, no name."""
    RESYNC = "Resync"
    """Everything unfinished, everywhere; no namespace, no name."""
    GATEWAYS = "Gateways"
    """What the gateways saw of calls that reach no worker; no namespace, no name."""
    HEARTBEAT = "Heartbeat"
    """Nothing: proof that the queue hands out work."""


class Key(NamedTuple):
    """One piece of work; the queue holds each key once."""

    work: Work
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in self if part)
