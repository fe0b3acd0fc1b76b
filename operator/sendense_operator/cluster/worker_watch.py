"""The worker pods as the gateway sees them: an index that a watch keeps up to date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kubernetes.aio.client.api_client import ApiClient

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.informer import Mirror
from sendense_operator.cluster.kinds import POD
from sendense_operator.cluster.worker_index import Worker, WorkerIndex

_SELECTOR: Final = f"{names.LABEL_COMPONENT}={names.COMPONENT_WORKER}"


class WorkerPods(Mirror[Worker]):
    """All worker pods of some namespaces (none given: of the cluster). Run `run` in a task of its own."""

    def __init__(self, api: ApiClient, namespaces: Sequence[str] = ()) -> None:
        self._workers = WorkerIndex()
        super().__init__(api, POD, self._workers, Worker.from_pod, namespaces, labels=_SELECTOR)

    def find_by_pod_uid(self, namespace: str, appliance: str, uid: str) -> Worker | None:
        """See `WorkerIndex`."""
        return self._workers.find_by_pod_uid(namespace, appliance, uid)

    def find_owner(self, uid: str, vm_key: str, namespace: str) -> Worker | None:
        """See `WorkerIndex`."""
        return self._workers.find_owner(uid, vm_key, namespace)

    def find_by_vm(self, namespace: str, appliance: str, vm_key: str) -> Worker | None:
        """See `WorkerIndex`."""
        return self._workers.find_by_vm(namespace, appliance, vm_key)
