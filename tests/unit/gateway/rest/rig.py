"""The REST application over a cluster in memory: of users, one may everything, one read, one own, one nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI
from tests.support.objects import Obj

from sendense_operator.cluster.authorization import Caller, UnauthenticatedError
from sendense_operator.cluster.errors import AlreadyExistsError, ClusterError, NotFoundError
from sendense_operator.cluster.kinds import RESTORE, Kind
from sendense_operator.gateway.drain import Drain
from sendense_operator.gateway.rest.object_cache import Stores
from sendense_operator.gateway.rest.record_store import Store
from sendense_operator.gateway.rest.rest_app import create_rest_app
from sendense_operator.gateway.rest.service import Service
from sendense_operator.views.cached_objects import CachedChain, CachedRepository, CachedVM

NAMESPACE = "backups"
CALLS_PER_USER = 3
FULL = "db01-20261123-164928-x7k2p"
RESTORED = "restore-db01-20261124-091500-m3v8c"
READS = frozenset({"get", "list", "watch"})


def backup(name: str = FULL, vm_id: str = "db01", **changes: Any) -> Obj:
    """Return a Completed Backup of one disk; `changes` replace parts of its status."""
    status = {
        "phase": "Completed",
        "type": "Full",
        "vmName": "DB 01",
        "startTime": "2026-11-23T16:49:31Z",
        "completionTime": "2026-11-23T16:49:55Z",
        "storedBytes": 1395654656,
        "manifest": "backups/db01/backups/x.json",
        "progress": {"bytesTransferred": 1395864371, "totalBytes": 4294967296, "percent": 100},
        "disks": [
            {
                "id": 0,
                "key": 2000,
                "virtualSize": 4294967296,
                "file": "backups/db01/disk-0/full-20261123-164928.qcow2",
                "storedBytes": 1395654656,
                "changeID": "52 3e 1f 9a/118",
            }
        ],
    }
    return {
        "metadata": {
            "namespace": NAMESPACE,
            "name": name,
            "uid": f"uid-{name}",
            "creationTimestamp": "2026-11-23T16:49:28Z",
            "labels": {"backup.sendense.io/policy": "daily", "tags.backup.sendense.io/team": "shop"},
        },
        "spec": {"vmRef": {"name": vm_id}, "repositoryRef": {"name": "main"}, "type": "Full"},
        "status": {**status, **changes},
    }


def restore(name: str = RESTORED, **changes: Any) -> Obj:
    """Return a Completed Restore of one disk; `changes` replace parts of its status."""
    size, data = 4294967296, 1395654656
    text = f"1 disk of restore point {FULL}: 4.0 GiB with 1.3 GiB of data restored, read back and compared"
    status = {
        "phase": "Completed",
        "restorePoint": {
            "backupName": FULL, "uid": f"uid-{FULL}", "vmName": "db01", "repositoryName": "main",
            "time": "2026-11-23T16:49:55Z",
        },
        "startTime": "2026-11-24T09:15:02Z",
        "completionTime": "2026-11-24T09:15:31Z",
        "progress": {"processedBytes": size, "totalBytes": size, "percent": 100},
        "disks": [
            {
                "index": 0, "virtualSize": size, "claimName": "db01-disk-0", "processedBytes": size, "percent": 100,
                "dataBytes": data, "writtenBytes": data,
            }
        ],
        "conditions": [{"type": "Ready", "status": "True", "reason": "Restored", "message": text}],
    }  # fmt: skip
    return {
        "metadata": {
            "namespace": NAMESPACE,
            "name": name,
            "uid": f"uid-{name}",
            "creationTimestamp": "2026-11-24T09:15:00Z",
        },
        "spec": {
            "source": {"backupRef": {"name": FULL}},
            "target": {"persistentVolumeClaims": [{"disk": 0, "claimName": "db01-disk-0"}]},
        },
        "status": {**status, **changes},
    }


def vm(name: str = "db01", vm_name: str = "DB 01", disks: int = 1, *, vanished: bool = False) -> Obj:
    found = [{"index": i, "key": 2000 + i, "label": f"Hard disk {i + 1}", "virtualSize": 1 << 32} for i in range(disks)]
    return {
        "metadata": {"namespace": NAMESPACE, "name": name, "uid": f"uid-vm-{name}"},
        "spec": {"applianceRef": {"name": "vma"}, "path": f"/DC1/vm/shop/{vm_name}"},
        "status": {
            "vmName": vm_name,
            "powerState": "poweredOn",
            "cbtEnabled": True,
            "totalBytes": disks << 32,
            "disks": found,
            **({"vanishedTime": "2026-11-23T12:00:00Z"} if vanished else {}),
            "conditions": [{"type": "Ready", "status": "True", "reason": "Found", "message": ""}],
        },
    }


def chain(*points: str, vm_id: str = "db01", repository: str = "main", **spec: Any) -> Obj:
    name = "db01-main-4e8212b9" if (vm_id, repository) == ("db01", "main") else f"{vm_id}-{repository}"
    return {
        "metadata": {"namespace": NAMESPACE, "name": name, "uid": f"uid-chain-{name}"},
        "spec": {"vmRef": {"name": vm_id}, "repositoryRef": {"name": repository}, **spec},
        "status": {
            "points": len(points),
            "latestBackup": points[-1] if points else None,
            "latestTime": "2026-11-23T16:49:55Z",
            "storedBytes": 1395654656,
            "restorePoints": [{"backup": point, "full": points[0]} for point in points],
            "consolidation": {"lastTime": "2026-11-23T17:10:02Z", "lastMerges": 1, "lastFreedBytes": 33554432},
        },
    }


@dataclass
class World:
    """A cluster, its stores that are always up to date, and who may what. Is Access, Cluster and Freshness."""

    stores: Stores = field(default_factory=Stores)
    away: ClusterError | None = None
    age_s: float = 0.0
    created: list[Obj] = field(default_factory=list)
    patched: list[tuple[str, str, str, Obj]] = field(default_factory=list)
    """Kind, namespace, name and patch of each."""
    finalizers: bool = True
    granted: set[tuple[str, str]] = field(
        default_factory=lambda: {(verb, name) for verb in ("get", "delete") for name in (FULL, RESTORED)}
    )
    """To `owner`: a verb, and the name of the one object or nothing."""
    tokens: list[str] = field(default_factory=list)

    async def authenticate(self, token: str) -> Caller:
        if self.away:
            raise self.away
        if token not in ("admin", "reader", "owner", "nobody"):
            raise UnauthenticatedError("the token is not valid")
        return Caller(token)

    async def may(self, caller: Caller, verb: str, kind: Kind, namespace: str, name: str = "") -> bool:
        if caller.user == "owner":
            return (verb, name) in self.granted
        return caller.user == "admin" or (caller.user == "reader" and verb in READS)

    def act_with(self, token: str) -> Any:
        self.tokens.append(token)
        return self

    async def until(self, kind: Kind, condition: Callable[[], bool], limit_s: float) -> None:
        assert condition()

    def add(self, *objects: Obj) -> None:
        for obj in objects:
            self.stores.backups.put(self.stores.read_backup(obj))

    def add_restores(self, *objects: Obj) -> None:
        for obj in objects:
            self.stores.restores.put(self.stores.read_restore(obj))

    def _store(self, kind: Kind) -> Store[Any]:
        return self.stores.restores if kind == RESTORE else self.stores.backups

    async def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        raise NotFoundError(f"{kind.plural} {name} not found")

    async def create(self, kind: Kind, obj: Obj) -> Obj:
        if self._store(kind).get(obj["metadata"]["namespace"], obj["metadata"]["name"]):
            raise AlreadyExistsError("taken")
        meta = {**obj["metadata"], "uid": f"uid-{len(self.created)}", "creationTimestamp": "2026-11-24T01:30:00Z"}
        made = {**obj, "metadata": meta}
        self.created.append(obj)
        self._add(kind, made)
        return made

    def _add(self, kind: Kind, obj: Obj) -> None:
        (self.add_restores if kind == RESTORE else self.add)(obj)

    async def merge_patch(self, kind: Kind, namespace: str, name: str, patch: Obj) -> Obj:
        self.patched.append((kind.kind, namespace, name, patch))
        return patch

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        found = self._store(kind).get(namespace, name)
        assert found is not None
        assert found.uid == uid
        if self.finalizers:
            obj = restore(name) if kind == RESTORE else backup(name)
            obj["metadata"]["deletionTimestamp"] = "2026-11-24T02:00:00Z"
            self._add(kind, obj)
        else:
            self._store(kind).remove(uid)


@dataclass
class Rig:
    world: World
    http: httpx.AsyncClient
    drain: Drain
    app: FastAPI

    async def call(self, method: str, path: str, user: str = "admin", **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {user}"} if user else {}
        return await self.http.request(method, path, headers=headers, **options)


def application(
    *backups: Obj, restores: Sequence[Obj] = (), namespaces: tuple[str, ...] = ()
) -> tuple[FastAPI, World, Drain]:
    """Return the application over a world with one VM, one repository, these Backups and Restores."""
    world, drain = World(), Drain()
    world.stores.vms.put(CachedVM.from_object(vm()))
    world.stores.repositories.put(
        CachedRepository.from_object({"metadata": {"namespace": NAMESPACE, "name": "main", "uid": "uid-repo"}})
    )
    if backups:
        world.stores.chains.put(CachedChain.from_object(chain(*(one["metadata"]["name"] for one in backups))))
    world.add(*backups)
    world.add_restores(*restores)
    return (
        create_rest_app(Service(world, world.stores, world, namespaces), drain, NAMESPACE, 8, CALLS_PER_USER),
        world,
        drain,
    )


@asynccontextmanager
async def running(*backups: Obj, restores: Sequence[Obj] = (), namespaces: tuple[str, ...] = ()) -> AsyncIterator[Rig]:
    app, world, drain = application(*backups, restores=restores, namespaces=namespaces)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://rest") as http:
        yield Rig(world, http, drain, app)
