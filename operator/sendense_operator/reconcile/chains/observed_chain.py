"""A chain and what belongs to it, read from the API server."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sendense_operator.api.v1alpha1.backup import DeletionPolicy, Phase
from sendense_operator.api.v1alpha1.backupchain import BackupChainStatus
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.cluster.api_client import Cluster, find
from sendense_operator.cluster.kinds import BACKUP, BACKUP_CHAIN, BACKUP_REPOSITORY
from sendense_operator.cluster.objects import Obj
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.chains.retention_decision import RetentionFacts
from sendense_operator.reconcile.protection.selection import PolicyEntry
from sendense_operator.reconcile.state.keys import ChainKey
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting


@dataclass(frozen=True)
class ObservedChain:
    """As it was read."""

    namespace: str
    key: ChainKey
    backups: list[Obj]
    """All of the VM to the repository, whatever became of them."""
    repository: Obj | None
    obj: Obj | None
    """The BackupChain; None: there is none."""

    @property
    def vm(self) -> str:
        """Name of the ProtectedVM."""
        return self.key.vm

    @property
    def repository_name(self) -> str:
        """Name of the BackupRepository."""
        return self.key.repository

    @property
    def repository_key(self) -> ObjectKey:
        """Of the BackupRepository."""
        return ObjectKey(self.namespace, self.repository_name)

    @cached_property
    def repository_spec(self) -> BackupRepositorySpec | None:
        """None: there is no such BackupRepository."""
        return BackupRepositorySpec.model_validate(self.repository["spec"]) if self.repository else None

    @cached_property
    def status(self) -> BackupChainStatus:
        """Empty when there is none."""
        return BackupChainStatus.model_validate((self.obj or {}).get("status") or {})

    @property
    def points(self) -> list[Obj]:
        """Backups that are restore points, or were until their files were lost."""
        phases = (Phase.COMPLETED, Phase.LOST)
        return [b for b in self.backups if (b.get("status") or {}).get("phase") in phases and not is_deleting(b)]


async def observe_chain(cluster: Cluster, namespace: str, key: ChainKey) -> ObservedChain:
    """Read a chain. Raises ClusterError."""
    fields = f"spec.vmRef.name={key.vm},spec.repositoryRef.name={key.repository}"
    return ObservedChain(
        namespace,
        key,
        backups=await cluster.list_objects(BACKUP, namespace, fields=fields),
        repository=await find(cluster, BACKUP_REPOSITORY, namespace, key.repository),
        obj=await find(cluster, BACKUP_CHAIN, namespace, key.object_name),
    )


def retention_facts(seen: ObservedChain, policy: PolicyEntry | None) -> RetentionFacts | None:
    """Return what rules the chain's restore points; None where no retention does."""
    if policy is None or policy.retention is None:
        return None
    spec = seen.repository_spec
    retains = spec is not None and spec.deletion_policy is DeletionPolicy.RETAIN
    return RetentionFacts(seen.vm, policy, retains)
