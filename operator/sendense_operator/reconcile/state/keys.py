"""What the work queue holds: which object (or which recurring duty) is to be checked."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from sendense_operator.cluster.object_names import chain_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.object_key import ObjectKey


class Work(StrEnum):
    """Kinds of work."""

    BACKUP = "Backup"
    RESTORE = "Restore"
    CHAIN = "BackupChain"
    """Its name is a `ChainKey`, since the chain may not be there yet: see `Key.of_chain`."""
    REPOSITORY = "BackupRepository"
    POLICY = "BackupPolicy"
    SELECTION = "Selection"
    """All BackupPolicies of the namespace, since a policy or the labels of a VM changed; no name."""
    VM = "ProtectedVM"
    PROTECTION = "Protection"
    """Of a ProtectedVM: whether its newest restore point is recent enough."""
    APPLIANCE = "VMwareAppliance"
    DISCOVERY = "Discovery"
    """Of a VMwareAppliance: finds VMs and makes ProtectedVMs for them."""
    WAKE = "Wake"
    """All Backups and Restores of the namespace that wait for something, no name."""
    RESYNC = "Resync"
    """Everything unfinished, everywhere; no namespace, no name."""
    GATEWAYS = "Gateways"
    """What the gateways saw of calls that reach no worker; no namespace, no name."""
    HEARTBEAT = "Heartbeat"
    """Nothing: proof that the queue hands out work."""


class ChainKey(NamedTuple):
    """A chain within its namespace: names of its ProtectedVM and its BackupRepository."""

    vm: str
    repository: str

    def __str__(self) -> str:
        return f"{self.vm}/{self.repository}"

    @classmethod
    def of(cls, obj: Obj) -> ChainKey:
        """From a BackupChain, or a Backup, as the API server gives it."""
        spec = obj["spec"]
        return cls(spec["vmRef"]["name"], spec["repositoryRef"]["name"])

    @classmethod
    def parse(cls, text: str) -> ChainKey:
        """Inverse of `str`; names contain no slash."""
        vm, _, repository = text.partition("/")
        return cls(vm, repository)

    @property
    def object_name(self) -> str:
        """Name of the BackupChain."""
        return chain_name(self.vm, self.repository)


class Key(NamedTuple):
    """One piece of work; the queue holds each key once."""

    work: Work
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in self if part)

    @classmethod
    def of(cls, work: Work, obj: Obj) -> Key:
        """From an object as the API server gives it."""
        return cls(work, *ObjectKey.of(obj))

    @classmethod
    def of_chain(cls, namespace: str, chain: ChainKey) -> Key:
        """Of a chain, whether its object is there or not."""
        return cls(Work.CHAIN, namespace, str(chain))

    @property
    def chain(self) -> ChainKey:
        """Which chain the key of `of_chain` names."""
        return ChainKey.parse(self.name)
