"""An API server in memory, as far as the controller can tell: its `Cluster` protocol, and what a test wants to know.

It keeps what the real one keeps: resource versions, generations, finalizers, owner references, one writer a name. What
a status may hold is checked by the models that the CRDs are made of.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import ValidationError
from tests.support.objects import Obj
from tests.support.sample import uid_of
from tests.wiring.clock import Clock
from tests.wiring.plain import copied, kind_of, merged, selected

from sendense_operator.api.v1alpha1.backup import BackupStatus
from sendense_operator.api.v1alpha1.backupchain import BackupChainStatus
from sendense_operator.api.v1alpha1.backuppolicy import BackupPolicyStatus
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositoryStatus
from sendense_operator.api.v1alpha1.base import Status
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMStatus
from sendense_operator.api.v1alpha1.restore import RestoreStatus
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceStatus
from sendense_operator.cluster.errors import (
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)
from sendense_operator.cluster.kinds import POD, Kind
from sendense_operator.cluster.listing import collect

Place = tuple[str, str, str]
"""Kind, namespace, name."""

_STATUS: dict[str, type[Status]] = {
    "Backup": BackupStatus,
    "BackupChain": BackupChainStatus,
    "BackupPolicy": BackupPolicyStatus,
    "BackupRepository": BackupRepositoryStatus,
    "ProtectedVM": ProtectedVMStatus,
    "Restore": RestoreStatus,
    "VMwareAppliance": VMwareApplianceStatus,
}
FOREGROUND = "foregroundDeletion"
PAGE = 100
"""Objects of a list that are reported at once."""


class Killed(BaseException):
    """The controller died: nothing of it runs on, no handler catches this."""


class FakeCluster:
    """`Cluster` in memory."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.objects: dict[Place, Obj] = {}
        self.on_change: Callable[[str, Kind, Obj], None] = lambda event, kind, obj: None
        self.made: list[tuple[str, str]] = []
        """Kind and name of all that was ever created."""
        self.history: list[Obj] = []
        """Each status of each Backup that was written."""
        self.written: list[str] = []
        """Kinds of what the controller wrote."""
        self.kill_after: int | None = None
        """Die when so many writes have been done."""
        self.failing: Callable[[str, Kind], ClusterError | None] = lambda verb, kind: None
        """The error that a call ends with."""
        self.terminating: set[str] = set()
        """Namespaces that are being deleted."""
        self.logs: dict[str, list[str]] = {}
        """Lines by name of the pod; they go with it."""
        self._version = 1
        self._made: dict[str, int] = {}

    # What the world outside the controller does.

    def put(self, kind: Kind, obj: Obj) -> Obj:
        """Add or replace an object as somebody else would."""
        meta = obj["metadata"]
        place = (kind.kind, meta.get("namespace") or "", meta["name"])
        event = "MODIFIED" if place in self.objects else "ADDED"
        obj = {"apiVersion": kind.api_version, "kind": kind.kind, **copied(obj)}
        if event == "ADDED":
            obj["metadata"] = {"creationTimestamp": self.clock.stamp(), **obj["metadata"]}
        return self._store(event, kind, place, obj)

    def all(self, kind: Kind) -> list[Obj]:
        """Return all objects of a kind."""
        return [copied(obj) for place, obj in self.objects.items() if place[0] == kind.kind]

    def peek(self, kind: Kind) -> list[Obj]:
        """Return the same, not to be changed."""
        return [obj for place, obj in self.objects.items() if place[0] == kind.kind]

    def one(self, kind: Kind, name: str, namespace: str = "shop") -> Obj:
        """Return one object."""
        return copied(self.objects[kind.kind, namespace if kind.namespaced else "", name])

    def remove(self, kind: Kind, obj: Obj) -> None:
        """Let an object go for good, and delete what it owns."""
        meta = obj["metadata"]
        gone = self.objects.pop((kind.kind, meta.get("namespace") or "", meta["name"]), None)
        if gone is None:
            return
        self.on_change("DELETED", kind, copied(gone))
        for child_kind, child in self._owned(meta["uid"]):
            self.begin_deletion(child_kind, child)

    def begin_deletion(self, kind: Kind, obj: Obj, propagation: str = "Background") -> None:
        """What the API server does with a DELETE. A pod stays until its node says that it is gone."""
        meta = obj["metadata"]
        place = (kind.kind, meta.get("namespace") or "", meta["name"])
        present = self.objects[place]["metadata"]
        if propagation == "Foreground" and FOREGROUND not in present.get("finalizers", []):
            present["finalizers"] = [*present.get("finalizers", []), FOREGROUND]
        if not present.get("finalizers") and kind.kind != "Pod":
            self.remove(kind, self.objects[place])
            return
        if "deletionTimestamp" not in present:
            present["deletionTimestamp"] = self.clock.stamp()
            self._store("MODIFIED", kind, place, self.objects[place])
        if propagation == "Foreground":
            for child_kind, child in self._owned(present["uid"]):
                self.begin_deletion(child_kind, child)

    def _owned(self, uid: str) -> list[tuple[Kind, Obj]]:
        return [
            (kind_of(obj), obj)
            for obj in list(self.objects.values())
            if any(ref["uid"] == uid for ref in obj["metadata"].get("ownerReferences") or [])
        ]

    def _store(self, event: str, kind: Kind, place: Place, obj: Obj) -> Obj:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        self.objects[place] = obj
        self.on_change(event, kind, copied(obj))
        return copied(obj)

    # The protocol.

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Obj:
        await self._call("get", kind)
        found = copied(self._present(kind, namespace, name))
        if kind.kind == "Namespace" and name in self.terminating:
            found["metadata"]["deletionTimestamp"] = self.clock.stamp()
        return found

    async def list_objects(self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = "") -> list[Obj]:
        return await collect(self, kind, namespace, lambda obj: obj, labels=labels, fields=fields)

    async def pages(
        self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[list[Obj]]:
        await self._call("list", kind)
        found = [
            obj
            for place, obj in self.objects.items()
            if place[0] == kind.kind
            and namespace in (None, place[1])
            and selected(labels, obj["metadata"].get("labels") or {})
            and selected(fields, obj)
        ]
        for start in range(0, len(found), PAGE):
            yield [copied(obj) for obj in found[start : start + PAGE]]

    async def create(self, kind: Kind, obj: Obj, *, dry_run: bool = False) -> Obj:
        await self._call("create", kind)
        meta = obj["metadata"]
        place = (kind.kind, meta.get("namespace") or "", meta["name"])
        if meta.get("namespace") in self.terminating:
            raise ForbiddenError(f"namespace {meta['namespace']} is being terminated", terminating=True)
        if place in self.objects:
            raise AlreadyExistsError(f"{kind.plural} {meta['name']} already exists")
        if kind.kind == "Service" and not meta["name"][0].isalpha():
            raise InvalidError(f"metadata.name: {meta['name']} is no DNS-1035 label")  # until Kubernetes 1.37
        if dry_run:
            return copied(obj)
        self.made.append((kind.kind, meta["name"]))
        self._made[kind.kind] = self._made.get(kind.kind, 0) + 1
        made = {"apiVersion": kind.api_version, "kind": kind.kind, **copied(obj)}
        made["metadata"] |= {
            "uid": uid_of(kind.kind, meta["name"], str(self._made[kind.kind])),
            "creationTimestamp": self.clock.stamp(),
            "generation": 1,
        }
        for index, port in enumerate(made.get("spec", {}).get("ports") or [] if kind.kind == "Service" else []):
            port["nodePort"] = 30000 + index
        result = self._store("ADDED", kind, place, made)
        self._wrote(kind)
        return result

    async def apply(self, kind: Kind, obj: Obj, *, subresource: str = "") -> Obj:
        meta = obj["metadata"]
        if subresource != "status":
            return await self.create(kind, obj)
        await self._call("apply", kind)
        present = self._present(kind, meta["namespace"], meta["name"])
        if present["metadata"]["uid"] != meta["uid"]:
            raise ConflictError("the UID is another one")
        if (
            meta.get("resourceVersion", present["metadata"]["resourceVersion"])
            != present["metadata"]["resourceVersion"]
        ):
            raise ConflictError("the object has been modified")
        try:
            _STATUS[kind.kind].model_validate(obj["status"])
        except ValidationError as error:
            raise InvalidError(str(error)) from error
        if kind.kind == "Backup":
            self.history.append({"name": meta["name"], "at": self.clock.seconds, **copied(obj["status"])})
        place = (kind.kind, meta["namespace"], meta["name"])
        result = self._store("MODIFIED", kind, place, {**present, "status": copied(obj["status"])})
        self._wrote(kind)
        return result

    async def json_patch(
        self, kind: Kind, namespace: str | None, name: str, operations: Sequence[Mapping[str, Any]]
    ) -> Obj:
        await self._call("patch", kind)
        obj = copied(self._present(kind, namespace, name))
        before = obj["metadata"].get("finalizers") or []
        for operation in operations:
            _, *parents, last = operation["path"].split("/")
            target = obj
            for part in parents:
                target = target[part]
            if operation["op"] == "add":
                target[last] = operation["value"]
            elif operation["op"] != "test" or target.get(last) != operation["value"]:
                raise InvalidError(f"{operation['path']} is {target.get(last)}")
        after = obj["metadata"].get("finalizers") or []
        deleting = bool(obj["metadata"].get("deletionTimestamp"))
        if deleting and set(after) - set(before):
            raise InvalidError("no new finalizers can be added if the object is being deleted")
        if deleting and not after:
            self.remove(kind, obj)
        else:
            obj = self._store("MODIFIED", kind, (kind.kind, namespace or "", name), obj)
        self._wrote(kind)
        return copied(obj)

    async def merge_patch(self, kind: Kind, namespace: str | None, name: str, patch: Obj) -> Obj:
        await self._call("patch", kind)
        obj = copied(self._present(kind, namespace, name))
        for key in ("uid", "resourceVersion"):
            if patch.get("metadata", {}).get(key, obj["metadata"][key]) != obj["metadata"][key]:
                raise ConflictError(f"the {key} is another one")
        changed = merged(obj, patch)
        if changed.get("spec") != obj.get("spec"):
            changed["metadata"]["generation"] = obj["metadata"].get("generation", 0) + 1
        result = self._store("MODIFIED", kind, (kind.kind, namespace or "", name), changed)
        self._wrote(kind)
        return result

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        propagation: Literal["Foreground", "Background", "Orphan"] = "Background",
    ) -> None:
        await self._call("delete", kind)
        obj = self.objects.get((kind.kind, namespace or "", name))
        if obj is None:
            return
        if uid is not None and obj["metadata"]["uid"] != uid:
            raise ConflictError("the UID is another one")
        self.begin_deletion(kind, obj, propagation)
        self._wrote(kind)

    async def read_log(self, namespace: str, pod: str, container: str) -> list[str]:
        await self._call("log", POD)
        self._present(POD, namespace, pod)
        return list(self.logs.get(pod, []))

    async def _call(self, verb: str, kind: Kind) -> None:
        await asyncio.sleep(0)  # as a real call: others run meanwhile
        error = self.failing(verb, kind)
        if error is not None:
            raise error

    def _present(self, kind: Kind, namespace: str | None, name: str) -> Obj:
        try:
            return self.objects[kind.kind, namespace or "", name]
        except KeyError:
            raise NotFoundError(f"{kind.plural} {name} not found") from None

    def _wrote(self, kind: Kind) -> None:
        self.written.append(kind.kind)
        if len(self.written) == self.kill_after:
            raise Killed
