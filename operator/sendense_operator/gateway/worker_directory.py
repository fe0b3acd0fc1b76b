"""What the gateway needs to know about the workers."""

from __future__ import annotations

from typing import Protocol

from sendense_operator.cluster.worker_index import Worker


class WorkerDirectory(Protocol):
    """A view of the worker pods that is kept up to date elsewhere (`cluster.worker_watch.WorkerPods`)."""

    @property
    def synced(self) -> bool:
        """Whether the view was complete once."""
        ...

    @property
    def version(self) -> int:
        """Grows with every change."""
        ...

    def find_by_pod_uid(self, namespace: str, appliance: str, uid: str) -> Worker | None:
        """Return the worker with that pod UID, also a terminating or ended one."""
        ...

    def find_owner(self, uid: str, vm_key: str, namespace: str) -> Worker | None:
        """Return the worker that a call is meant for, whichever appliance it belongs to; `namespace` comes first."""
        ...

    def find_by_vm(self, namespace: str, appliance: str, vm_key: str) -> Worker | None:
        """Return the worker that copies the VM now."""
        ...

    async def wait_change(self, version: int) -> None:
        """Return as soon as `self.version` differs from `version`."""
        ...
