"""The controller without kopf and without time: what changes wakes what it concerns, one key after the other."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tests.support import sample
from tests.support.callbackkeys import FixedKeys
from tests.support.objects import Obj, status_and_reason
from tests.support.sample import metadata
from tests.support.staterecords import record
from tests.wiring.fakecluster import Killed
from tests.wiring.fakevma import FakeVMA
from tests.wiring.world import World

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.conditions import TERMINAL_PHASES
from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import ClusterError
from sendense_operator.cluster.events import EventRecorder
from sendense_operator.cluster.kinds import Kind
from sendense_operator.cluster.status_writer import has_finalizer
from sendense_operator.controller.handlers import (
    keys_of_backup,
    keys_of_chain,
    keys_of_job,
    keys_of_pod,
    keys_of_reference,
    keys_of_restore,
    remember_answer,
    settling_s,
)
from sendense_operator.controller.metrics.state_series import StateStores
from sendense_operator.reconcile.dispatch import Reconciler
from sendense_operator.reconcile.protection.chain_index import ChainEntry
from sendense_operator.reconcile.protection.protection_index import ProtectionIndex
from sendense_operator.reconcile.protection.selection import PolicyEntry, VMEntry
from sendense_operator.reconcile.state.context import Context
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.state.settings import Settings

SECRET_WORD = "canary-5f2a"
_SIMPLE = {
    "BackupPolicy": Work.POLICY,
    "BackupRepository": Work.REPOSITORY,
    "ProtectedVM": Work.VM,
    "VMwareAppliance": Work.APPLIANCE,
}
_HOT = 300
"""Reconciles within one second that only a loop without a pause can reach."""


class Controller:
    """One process: all that it remembers goes with it."""

    def __init__(self, world: World, vma: FakeVMA, settings: Settings) -> None:
        self._world = world
        self._due: dict[Key, float] = {}
        self._failures: Counter[Key] = Counter()
        self.errors: list[str] = []
        born = world.clock.seconds
        self.ctx = Context(
            cluster=world.cluster,
            settings=settings,
            events=EventRecorder(world.cluster),
            workers=world,
            connect=lambda url, ca_bundle, timeout: vma,
            enqueue=self._enqueue,
            gateways=world.gateways,
            callback_keys=FixedKeys(),
            now=world.clock.now,
            monotonic=lambda: world.clock.seconds - born,
        )
        self.protection = ProtectionIndex(self._enqueue, lambda: True)
        self.state = StateStores()
        self._reconcile = Reconciler(self.ctx, self.protection)
        world.cluster.on_change = self.on_change
        self._enqueue(Key(Work.RESYNC), 0)
        self._enqueue(Key(Work.GATEWAYS), 0)
        for (kind, _, _), obj in list(world.cluster.objects.items()):
            self.on_change("", Kind(obj["apiVersion"], kind, ""), obj)

    def on_change(self, event: str, kind: Kind, obj: Obj) -> None:
        """What the watches do."""
        self._index(event, kind, obj)
        record(self.state, kind.kind, obj, deleted=event == "DELETED")
        for key in self._keys(event, kind, obj):
            delay = settling_s(key, event or None, obj) if kind.kind == "Backup" else 0.0
            self._enqueue(key, delay)

    def _index(self, event: str, kind: Kind, obj: Obj) -> None:
        match kind.kind, event:
            case ("ProtectedVM", "DELETED"):
                self.protection.vms.remove(obj["metadata"]["uid"])
            case ("ProtectedVM", _):
                self.protection.vms.put(VMEntry.of(obj))
            case ("BackupPolicy", "DELETED"):
                self.protection.policies.remove(obj["metadata"]["uid"])
            case ("BackupPolicy", _):
                self.protection.policies.put(PolicyEntry.of(obj))
            case ("BackupChain", "DELETED"):
                self.protection.chains.remove(obj["metadata"]["uid"])
            case ("BackupChain", _):
                self.protection.chains.put(ChainEntry.of(obj))

    def _keys(self, event: str, kind: Kind, obj: Obj) -> Iterator[Key]:
        match kind.kind:
            case "Backup":
                yield from keys_of_backup(event, obj)
            case "BackupChain":
                yield from keys_of_chain(event, obj)
            case "Restore":
                yield from keys_of_restore(event, obj)
            case "Job":
                yield from keys_of_job(event, obj)
            case "Pod":
                if event == "DELETED":
                    remember_answer(obj, self.ctx.watch_hints)
                yield from keys_of_pod(obj)
            case name if work := _SIMPLE.get(name):
                yield from keys_of_reference(work, event, obj, self.ctx.watch_hints)

    def _enqueue(self, key: Key, delay: float) -> None:
        due = self._world.clock.seconds + delay
        self._due[key] = min(due, self._due.get(key, due))

    async def work(self) -> None:
        """All that is due now."""
        done = 0
        while ready := [key for key, due in self._due.items() if due <= self._world.clock.seconds]:
            done += 1
            if done > _HOT + 10 * len(self._world.cluster.objects):  # a resync looks at everything once
                raise AssertionError(f"too busy: {ready[:20]}")
            key = min(ready, key=lambda key: self._due[key])
            del self._due[key]
            try:
                delay = await self._reconcile(key)
            except ClusterError as error:
                self.errors.append(f"{key}: {error}")
                self._failures[key] += 1
                delay = min(0.5 * 2 ** self._failures[key], 30)
            else:
                del self._failures[key]
            if delay is not None:
                self._enqueue(key, delay)


class Rig:
    """A world with a controller in it."""

    def __init__(self, **settings: Any) -> None:
        self.world = World()
        self.vma = FakeVMA()
        self.settings = Settings.model_validate(
            {"worker_image": "sendense-backup:test", "gateway_url": "http://gateway.example", **settings}
        )
        self.restarts = 0
        self.controller = Controller(self.world, self.vma, self.settings)

    def restart(self) -> None:
        """Another process, which remembers nothing."""
        self.restarts += 1
        self.controller = Controller(self.world, self.vma, self.settings)

    def kill_after(self, writes: int | None) -> None:
        """Let the controller die after so many more writes; None: let it live."""
        self.world.cluster.kill_after = len(self.world.cluster.written) + writes if writes is not None else None

    async def run(self, until: Callable[[], object], *, seconds: int = 400) -> None:
        """Let time pass until the condition holds. A controller that is killed comes back a second later."""
        for _ in range(seconds):
            try:
                await self.controller.work()
                if until():
                    return
            except Killed:
                self.restart()
            self.world.step()
        raise AssertionError(f"not within {seconds} s: {self.phases()}; {self.reasons()}; {self.controller.errors}")

    async def settle(self, *, seconds: int = 90) -> None:
        """Let time pass, so that whatever is left to do gets done."""
        end = self.world.clock.seconds + seconds
        await self.run(lambda: self.world.clock.seconds >= end, seconds=seconds + 2)

    def create(self, kind: Kind, obj: Obj) -> None:
        """As `kubectl create`."""
        meta = {key: value for key, value in obj["metadata"].items() if key != "creationTimestamp"}
        self.world.cluster.put(kind, {**obj, "metadata": meta})

    def create_backup(self, name: str = "b1", **spec: Any) -> None:
        """A Backup."""
        self.create(kinds.BACKUP, sample.backup(name, **spec))

    def create_references(self, **repository: Any) -> None:
        """All that a Backup refers to."""
        self.create_secret()
        self.create(kinds.CLAIM, sample.claim())
        self.create(kinds.BACKUP_REPOSITORY, sample.repository(**repository))
        self.create(kinds.APPLIANCE, sample.appliance())
        self.create(kinds.PROTECTED_VM, sample.protected_vm())

    def create_secret(self) -> None:
        """The vCenter's credentials."""
        data = {"username": "backup@vsphere.local", "password": SECRET_WORD}
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self.create(kinds.SECRET, {"metadata": metadata("Secret", "vcenter"), "data": encoded})

    def edit(self, kind: Kind, name: str, **spec: Any) -> None:
        """As `kubectl patch` of the spec."""
        obj = self.world.cluster.one(kind, name)
        obj["spec"] |= spec
        obj["metadata"]["generation"] += 1
        self.world.cluster.put(kind, obj)

    def ask_for_a_scan(self, words: str = "now") -> None:
        """By the annotation of the repository."""
        obj = self.world.cluster.one(kinds.BACKUP_REPOSITORY, "store")
        annotations = {**obj["metadata"].get("annotations", {}), names.ANNOTATION_SCAN: words}
        changed = {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}
        self.world.cluster.put(kinds.BACKUP_REPOSITORY, changed)

    def backup(self, name: str = "b1") -> Obj:
        """Return a Backup as it is now."""
        return self.world.cluster.one(kinds.BACKUP, name)

    def phase(self, name: str = "b1") -> str:
        """Return its phase."""
        return str(self.backup(name).get("status", {}).get("phase", ""))

    def reason(self, name: str = "b1") -> str:
        """Return the reason of its Ready condition."""
        return status_and_reason(self.backup(name), "Ready")[1]

    def is_over(self, name: str) -> bool:
        """Return whether it has come to its end."""
        return self.phase(name) in TERMINAL_PHASES

    def is_ready(self, kind: Kind, name: str) -> bool:
        """Return what its Ready condition says."""
        return status_and_reason(self.world.cluster.one(kind, name), "Ready")[0] == "True"

    def delete(self, name: str) -> None:
        """As `kubectl delete` of a Backup."""
        self.world.cluster.begin_deletion(kinds.BACKUP, self.backup(name))

    def chain(self) -> Obj:
        """Return the only chain."""
        (found,) = self.world.cluster.all(kinds.BACKUP_CHAIN)
        return found

    def events(self, reason: str) -> list[Obj]:
        """Return the Events of that reason."""
        return [event for event in self.world.cluster.all(kinds.EVENT) if event["reason"] == reason]

    def record_calls(self) -> list[tuple[str, str]]:
        """Return a list that gets verb and kind of each call of the API server from now on."""
        calls: list[tuple[str, str]] = []

        def record(verb: str, kind: Kind) -> None:
            calls.append((verb, kind.kind))

        self.world.cluster.failing = record
        return calls

    async def run_until_it_copies(self) -> None:
        """With all that the Backup needs, until its worker copies."""
        self.create_references()
        self.create_backup()
        await self.run(lambda: self.reason() == "Copying")

    def phases(self) -> dict[str, str]:
        """Of all Backups."""
        return {o["metadata"]["name"]: self.phase(o["metadata"]["name"]) for o in self.world.cluster.all(kinds.BACKUP)}

    def reasons(self) -> dict[str, str]:
        """Of all Backups."""
        return {name: self.reason(name) for name in self.phases()}

    def reported(self, name: str = "b1") -> list[str]:
        """Return the reasons of its Ready condition in the order they were written, each once in a row."""
        reasons = [s["conditions"][0]["reason"] for s in self.world.cluster.history if s["name"] == name]
        return [reason for i, reason in enumerate(reasons) if i == 0 or reasons[i - 1] != reason]

    def is_clean(self) -> bool:
        """No Backup is held for its worker, and nothing is left that was made for a worker's network."""
        held = [o for o in self.world.cluster.all(kinds.BACKUP) if has_finalizer(o, names.FINALIZER)]
        left = self.world.cluster.all(kinds.SERVICE) + self.world.cluster.all(kinds.NETWORK_POLICY)
        return not held and not left
