"""What a discovery does about the VMs that vCenter has: which get a ProtectedVM, which moved, which are gone.

A VM is identified by its BIOS UUID. Clones share one, some VMs have none: their path is used. So a ProtectedVM
belongs to the VM at its path if that has its UUID, else to the one VM of that UUID that belongs to no other. The latter
only if its own VM would have been seen: a list that is missing or could not be read makes no clone of a VM the VM.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sendense_operator.api.v1alpha1.names import LABEL_DISCOVERED_BY
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec
from sendense_operator.cluster.object_names import vm_object_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.discovery_records import (
    Creation,
    DiscoveredVM,
    DiscoveryPlan,
    KnownVM,
    Move,
    Relabel,
)
from sendense_operator.reconcile.state.inventory_path import datacenter_of
from sendense_operator.reconcile.state.kubernetes_objects import labels_of
from sendense_operator.reconcile.vcenter.discovery_labels import label_changes
from sendense_operator.reconcile.vcenter.discovery_rules import Labeler, Rule, no_labels
from sendense_operator.vma.inventory import bios_uuid
from sendense_operator.vma.messages import BrokenVM, Inventory

_PATH_LIMIT = 1024


def known_of(obj: Obj, appliance: str) -> KnownVM:
    """Return what a ProtectedVM stands for. `appliance`: the one that discovers."""
    spec = ProtectedVMSpec.model_validate(obj["spec"])
    status = obj.get("status") or {}
    # What was found before counts for the spec that it was found for.
    current = status.get("observedGeneration") == obj["metadata"].get("generation")
    uuid = spec.uuid or (status.get("uuid") if current else None)
    return KnownVM(
        obj=obj,
        spec=spec,
        uuid=uuid.lower() if uuid else None,
        own=spec.appliance_ref.name == appliance,
        made=labels_of(obj).get(LABEL_DISCOVERED_BY) == appliance and spec.appliance_ref.name == appliance,
    )


def decide_plan(
    inventories: Mapping[str, Inventory],
    known: Sequence[KnownVM],
    rule: Rule,
    *,
    vcenter: str,
    taken: Collection[str],
    there: Collection[str] = (),
    failed: Collection[str] = (),
    labeler: Labeler = no_labels,
) -> DiscoveryPlan:
    """`inventories`: by datacenter; what is not in there is not known. `taken`: names of all ProtectedVMs there are.

    `there`: names of those that have a VM at their path, as vCenter said when it was asked for it alone. `failed`:
    datacenters that could not be listed this time.
    """
    machines = _distinct(inventories)
    broken = [one for inventory in inventories.values() for one in inventory.broken]
    unread = {one.path for one in broken}
    looked_at = {one.name for one in known if datacenter_of(one.spec) in inventories and one.spec.path not in unread}
    pairs = _pair(machines, broken, known, looked_at.difference(there))
    paired, covered = {one.name for one, _ in pairs}, {seen.vm.path for _, seen in pairs}
    left = [one for one in known if one.name not in paired]
    lost = [one for one in left if one.own and one.name in looked_at]
    matching = [seen for seen in machines if rule(seen.vm)]
    unusable = {seen.vm.path: why for seen in matching if (why := _why_unusable(seen))}
    missing = [seen for seen in matching if seen.vm.path not in covered and seen.vm.path not in unusable]
    held = _held(missing, [one for one in left if datacenter_of(one.spec) in failed])
    missing = [seen for seen in missing if seen.vm.path not in held]
    uses = Counter(seen.uuid for seen in machines if seen.uuid)
    creations, homonyms = _name_all(missing, uses, vcenter, taken, labeler)
    return DiscoveryPlan(
        vms=len(machines),
        matched=len(matching),
        creations=tuple(creations),
        moves=_moves(pairs, {seen.vm.path for seen in machines}, labeler),
        relabels=_relabels(pairs, labeler),
        vanished=tuple(one for one in lost if one.name not in there and (one.uuid or one.made)),
        kept=tuple(one for one in lost if one.name in there),
        present=tuple((one, seen) for one, seen in pairs if one.own),
        unusable={**unusable, **held, **homonyms},
        clones=sum(1 for seen in matching if seen.uuid and uses[seen.uuid] > 1),
    )


def _distinct(inventories: Mapping[str, Inventory]) -> list[DiscoveredVM]:
    """Return each path once, in order: a path is where a VM is found again."""
    found: dict[str, DiscoveredVM] = {}
    for datacenter, inventory in inventories.items():
        for vm in inventory.vms:
            found.setdefault(vm.path, DiscoveredVM(vm, datacenter))
    return [found[path] for path in sorted(found)]


@dataclass
class _Left:
    """What has one BIOS UUID and is not identified by its path."""

    objects: list[KnownVM] = field(default_factory=list)
    machines: list[DiscoveredVM] = field(default_factory=list)
    unread: int = 0
    """VMs whose entries can't be read."""

    @property
    def sure(self) -> bool:
        """Whether the object's VM is known: where several are left, nobody can say which one is which."""
        return len(self.objects) == len(self.machines) == 1 and not self.unread


def _pair(
    machines: Sequence[DiscoveredVM], broken: Sequence[BrokenVM], known: Sequence[KnownVM], looked_at: Collection[str]
) -> list[tuple[KnownVM, DiscoveredVM]]:
    """Return each object with its VM. `looked_at`: names of those whose VM would have been seen at its path."""
    by_path = {seen.vm.path: seen for seen in machines}
    pairs = [(one, by_path[one.spec.path]) for one in known if _stands_for(one, by_path.get(one.spec.path))]
    paired, covered = {one.name for one, _ in pairs}, {seen.vm.path for _, seen in pairs}
    left: defaultdict[str, _Left] = defaultdict(_Left)
    for one in known:
        if one.uuid and one.name not in paired:
            left[one.uuid].objects.append(one)
    for seen in machines:
        if seen.uuid and seen.vm.path not in covered:
            left[seen.uuid].machines.append(seen)
    places = {one.spec.path for one in known}
    for entry in broken:
        if (uuid := bios_uuid(entry)) and entry.path not in places:
            left[uuid].unread += 1
    sure = [(rest.objects[0], rest.machines[0]) for rest in left.values() if rest.sure]
    return pairs + [(one, seen) for one, seen in sure if one.name in looked_at]


def _moves(pairs: Sequence[tuple[KnownVM, DiscoveredVM]], paths: Collection[str], labeler: Labeler) -> tuple[Move, ...]:
    """Return the objects that have to follow. `paths`: where VMs are."""
    moved = [(one, seen) for one, seen in pairs if one.made and one.spec.path != seen.vm.path]
    return tuple(Move(one, seen, replaced=one.spec.path in paths, labels=labeler(seen.vm)) for one, seen in moved)


def _relabels(pairs: Sequence[tuple[KnownVM, DiscoveredVM]], labeler: Labeler) -> tuple[Relabel, ...]:
    """Return the objects whose labels have to change. A moved VM's object gets its labels with the move."""
    at_home = [(one, seen) for one, seen in pairs if one.made and one.spec.path == seen.vm.path]
    wanted = [Relabel(one, seen, labeler(seen.vm)) for one, seen in at_home]
    return tuple(step for step in wanted if label_changes(step.known.obj, step.labels))


def _stands_for(one: KnownVM, seen: DiscoveredVM | None) -> bool:
    """Return whether the VM at its path is the object's. By hand and without `spec.uuid`, the path alone decides."""
    return seen is not None and (one.spec.uuid is None or seen.uuid in (None, one.uuid))


def _why_unusable(seen: DiscoveredVM) -> str:
    path = seen.vm.path
    if not path.startswith("/") or len(path) < 2:
        return "its inventory path does not begin with a slash"
    if len(path) > _PATH_LIMIT:
        return f"its inventory path is longer than {_PATH_LIMIT} characters"
    return ""


def _held(missing: Sequence[DiscoveredVM], away: Sequence[KnownVM]) -> dict[str, str]:
    """Return, by path, why a VM must not get an object yet: it may be the VM of an object that is `away`.

    An object that was made for a VM stays its object, so the list that tells a move from a clone is waited for.
    """
    names = {one.uuid: one.name for one in away if one.uuid}
    why = "it may be the VM of {}, whose datacenter could not be listed"
    return {seen.vm.path: why.format(names[seen.uuid]) for seen in missing if seen.uuid in names}


def _name_all(
    missing: Sequence[DiscoveredVM], uses: Mapping[str, int], vcenter: str, taken: Collection[str], labeler: Labeler
) -> tuple[list[Creation], dict[str, str]]:
    """Choose names that are the same in each run and cluster, so that a repository's folders are found again."""
    used, creations, without = set(taken), [], {}
    for seen in missing:
        by_uuid = vm_object_name(seen.vm.name, vcenter, seen.uuid or "")
        by_path = vm_object_name(seen.vm.name, vcenter, seen.uuid or "", seen.vm.path)
        alone = seen.uuid is not None and uses[seen.uuid] == 1
        name = by_uuid if alone and by_uuid not in used else by_path
        if name in used:
            without[seen.vm.path] = f"its object would be called {name}, as another ProtectedVM is"
            continue
        used.add(name)
        creations.append(Creation(name, seen, labeler(seen.vm)))
    return creations, without
