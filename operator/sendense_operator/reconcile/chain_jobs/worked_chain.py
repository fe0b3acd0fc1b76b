"""A chain on which a Job works."""

from __future__ import annotations

from dataclasses import dataclass

from sendense_operator.cluster.objects import Obj
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.keys import ChainKey
from sendense_operator.reconcile.workload.chain_job import ChainJobKind


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
