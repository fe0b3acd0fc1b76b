"""A chain on which a Job works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.cluster.objects import Obj
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.keys import ChainKey
from sendense_operator.reconcile.workload.chain_job import ChainJobKind


class ChainPlace(TypedDict):
    """Fields of a task that say which chain it is about, and where that is."""

    namespace: str
    folder: str
    vm: str
    chain: str
    repository_id: str
    repository_path: str


@dataclass(frozen=True)
class WorkedChain:
    """A chain as it was read."""

    namespace: str
    key: ChainKey
    obj: Obj
    """The BackupChain."""
    backups: list[Obj]
    """Backups that are restore points, or were until their files were lost."""
    repository: Obj | None

    @property
    def uid(self) -> str:
        """Its UID."""
        return str(self.obj["metadata"]["uid"])

    @property
    def repository_key(self) -> ObjectKey:
        """Its BackupRepository."""
        return ObjectKey(self.namespace, self.key.repository)

    def job_name(self, kind: ChainJobKind) -> str:
        """Return the name of its Job of that kind."""
        return kind.name_of(self.obj["metadata"]["name"], self.uid)

    def place(self, repository: Obj, spec: BackupRepositorySpec) -> ChainPlace:
        """Return the fields of a task about it. `repository`: the BackupRepository, whose spec is `spec`."""
        return ChainPlace(
            namespace=self.namespace,
            folder=spec.folder,
            vm=self.key.vm,
            chain=self.obj["metadata"]["name"],
            repository_id=(repository.get("status") or {}).get("repositoryID") or "",
            repository_path=spec.path,
        )
