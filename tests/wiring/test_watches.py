"""kopf's watches and our own feed the queue: the real ones against a mock of the API server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import kmock
import pytest
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from tests.support import sample
from tests.support.local_programs import write_kubeconfig
from tests.support.objects import Obj
from tests.support.sample import NAMESPACE
from tests.support.waiting import comes_true

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.cluster.api_client import KubernetesCluster
from sendense_operator.cluster.kinds import Kind
from sendense_operator.cluster.object_names import worker_name
from sendense_operator.controller.bulk_watch import Follower
from sendense_operator.controller.kopf_watches import watch_forever
from sendense_operator.reconcile.state.hints import WatchHints
from sendense_operator.reconcile.state.keys import Key, Work

WATCHED = (
    kinds.BACKUP,
    kinds.BACKUP_CHAIN,
    kinds.BACKUP_REPOSITORY,
    kinds.PROTECTED_VM,
    kinds.BACKUP_POLICY,
    kinds.APPLIANCE,
    kinds.JOB,
    kinds.POD,
)
NEEDED_BY_KOPF = (
    kinds.NAMESPACE,
    kinds.EVENT,
    Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False),
)
"""It waits for these kinds before it watches anything, whether it uses them or not."""
WORKER = {names.LABEL_COMPONENT: "worker", names.LABEL_BACKUP: "b1", names.LABEL_BACKUP_UID: "uid-1"}


class Rig:
    """A watch that runs, and the API server that it watches."""

    def __init__(self, api: Any, session: aiohttp.ClientSession) -> None:
        self.api = api
        self.keys: set[Key] = set()
        self.hints = WatchHints()
        self.follower: Follower
        self._session = session
        self._changed = asyncio.Event()

    def add(self, key: Key, _delay: float) -> None:
        """What kopf's handlers call."""
        self.keys.add(key)
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def comes(self, *keys: Key) -> None:
        await self.until(lambda: self.keys >= set(keys))

    async def create(self, kind: Kind, obj: Obj) -> None:
        await self._call("POST", kind.path(NAMESPACE), {"apiVersion": kind.api_version, "kind": kind.kind, **obj})

    async def patch(self, kind: Kind, name: str, patch: Obj) -> None:
        await self._call("PATCH", kind.path(NAMESPACE, name), patch)

    async def delete(self, kind: Kind, name: str) -> None:
        await self._call("DELETE", kind.path(NAMESPACE, name), {})

    async def _call(self, method: str, path: str, body: Obj) -> None:
        async with self._session.request(method, f"{self.api.url}".rstrip("/") + path, json=body) as response:
            assert response.status < 300, await response.text()


@asynccontextmanager
async def _serving() -> AsyncIterator[Any]:
    async with kmock.KubernetesEmulator() as api, kmock.Server(api):
        for kind in WATCHED + NEEDED_BY_KOPF:
            api.resources[kmock.resource(f"{kind.api_version}/{kind.plural}")] = kmock.ResourceInfo(
                kind=kind.kind,
                singular=kind.kind.lower(),
                namespaced=kind.namespaced,
                verbs={"list", "watch", "get", "patch"},
            )
        yield api


@pytest.fixture
def kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@asynccontextmanager
async def watching(kubeconfig: Path) -> AsyncIterator[Rig]:
    """No fixture: when kopf ends it cancels all tasks that are younger than itself, a fixture's end too."""
    async with _serving() as api, aiohttp.ClientSession() as session:
        rig = Rig(api, session)
        await rig.create(kinds.BACKUP, sample.backup("b0"))
        write_kubeconfig(kubeconfig, str(api.url))
        configuration = Configuration()
        configuration.host = str(api.url).rstrip("/")
        cluster = KubernetesCluster(ApiClient(configuration))
        rig.follower = Follower(cluster, rig.add, ())
        follow = asyncio.create_task(rig.follower.run())
        watch = asyncio.create_task(watch_forever(rig.add, rig.hints, (), "test", lambda: None))
        try:
            await rig.comes(Key(Work.BACKUP, NAMESPACE, "b0"))  # it was there before
            yield rig
        finally:
            watch.cancel()
            follow.cancel()
            await asyncio.gather(watch, follow, return_exceptions=True)
            await cluster.close()


def labelled(obj: Obj, **changes: Any) -> Obj:
    return {**obj, "metadata": {**obj["metadata"], "labels": WORKER, **changes}}


async def test_each_kind_is_watched(kubeconfig: Path) -> None:
    async with watching(kubeconfig) as rig:
        await rig.create(kinds.BACKUP_REPOSITORY, sample.repository())
        await rig.create(kinds.APPLIANCE, sample.appliance())
        await rig.create(kinds.PROTECTED_VM, sample.protected_vm())
        spec = {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}}
        await rig.create(kinds.BACKUP_CHAIN, sample.custom("BackupChain", "db-store", spec))
        await rig.create(kinds.JOB, labelled(sample.job()))
        await rig.comes(
            Key(Work.REPOSITORY, NAMESPACE, "store"),
            Key(Work.APPLIANCE, NAMESPACE, "vma"),
            Key(Work.VM, NAMESPACE, "db"),
            Key(Work.CHAIN, NAMESPACE, "db/store"),
            Key(Work.BACKUP, NAMESPACE, "b1"),
            Key(Work.WAKE, NAMESPACE),
        )


async def test_a_change_and_a_deletion_are_seen(kubeconfig: Path) -> None:
    async with watching(kubeconfig) as rig:
        rig.keys.clear()
        await rig.patch(kinds.BACKUP, "b0", {"spec": {"cancel": True}})
        await rig.comes(Key(Work.BACKUP, NAMESPACE, "b0"))
        await rig.delete(kinds.BACKUP, "b0")
        await rig.comes(Key(Work.WAKE, NAMESPACE), Key(Work.CHAIN, NAMESPACE, "db/store"))


async def test_records_for_the_metrics_come_and_go(kubeconfig: Path) -> None:
    async with watching(kubeconfig) as rig:
        state = rig.follower.state
        await rig.create(kinds.BACKUP_REPOSITORY, sample.repository())
        await rig.create(kinds.APPLIANCE, sample.appliance())
        await rig.create(kinds.PROTECTED_VM, sample.protected_vm())
        await rig.create(kinds.BACKUP_POLICY, sample.custom("BackupPolicy", "daily", {"repositoryRef": {"name": "s"}}))
        spec = {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}}
        await rig.create(kinds.BACKUP_CHAIN, sample.custom("BackupChain", "db-store", spec))
        stores = (state.backups, state.repositories, state.appliances, state.vms, state.policies, state.chains)
        await comes_true(lambda: all(len(store) == 1 for store in stores))
        await rig.delete(kinds.BACKUP, "b0")
        await rig.delete(kinds.BACKUP_REPOSITORY, "store")
        await rig.delete(kinds.APPLIANCE, "vma")
        await rig.delete(kinds.PROTECTED_VM, "db")
        await rig.delete(kinds.BACKUP_POLICY, "daily")
        await rig.delete(kinds.BACKUP_CHAIN, "db-store")
        await comes_true(lambda: not any(len(store) for store in stores))


async def test_the_last_words_of_a_pod_are_kept(kubeconfig: Path) -> None:
    async with watching(kubeconfig) as rig:
        answer = sample.completed_answer()
        statuses = sample.ended(answer.to_message())
        job = worker_name(WORKER[names.LABEL_BACKUP], WORKER[names.LABEL_BACKUP_UID])
        owner = {"uid": "job-uid", "kind": "Job", "name": job, "controller": True}
        pod = labelled(sample.pod(f"{job}-p1", "Succeeded", containerStatuses=statuses), ownerReferences=[owner])
        await rig.create(kinds.POD, pod)
        await rig.comes(Key(Work.BACKUP, NAMESPACE, "b1"))
        await rig.delete(kinds.POD, pod["metadata"]["name"])
        await rig.until(lambda: rig.hints.answers.get("uid-1") == answer)


async def test_nothing_is_written_into_what_is_watched(kubeconfig: Path) -> None:
    async with watching(kubeconfig) as rig:
        await rig.create(kinds.POD, labelled(sample.pod()))
        await rig.create(kinds.JOB, labelled(sample.job()))
        await rig.comes(Key(Work.BACKUP, NAMESPACE, "b1"))
        writes = [request for request in rig.api if request.method in (kmock.method.PATCH, kmock.method.PUT)]
        assert writes == []


async def test_only_our_own_pods_and_jobs_are_requested(kubeconfig: Path) -> None:
    async with watching(kubeconfig) as rig:
        await rig.create(kinds.POD, labelled(sample.pod()))
        await rig.create(kinds.JOB, labelled(sample.job("j1"), name="j1"))
        await rig.comes(Key(Work.BACKUP, NAMESPACE, "b1"))
        asked = [r for r in rig.api if r.params.get("watch") and str(r.url.path).rsplit("/", 1)[1] in ("pods", "jobs")]
        assert asked
        assert all(names.LABEL_COMPONENT in r.params.get("labelSelector", "") for r in asked)
