"""One discovery of an appliance: the VMs it found, its plan, and how far it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.problem import Problem
from sendense_operator.vma.inventory import bios_uuid
from sendense_operator.vma.messages import InventoryVM


@dataclass(frozen=True)
class DiscoveredVM:
    """A VM of vCenter, and the datacenter that was asked for it."""

    vm: InventoryVM
    datacenter: str

    @property
    def uuid(self) -> str | None:
        """BIOS UUID."""
        return bios_uuid(self.vm)


@dataclass(frozen=True)
class KnownVM:
    """A ProtectedVM that stands for a VM of the same vCenter."""

    obj: Obj
    spec: ProtectedVMSpec
    uuid: str | None
    """What identifies its VM: `spec.uuid`, or what was found at this path before."""
    own: bool
    """By this appliance, not by another one of the same vCenter."""
    made: bool
    """By this appliance's discovery, which therefore follows its VM."""

    @property
    def name(self) -> str:
        """Of the object."""
        return str(self.obj["metadata"]["name"])


@dataclass(frozen=True)
class Creation:
    """A ProtectedVM to be made."""

    name: str
    seen: DiscoveredVM
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels by the rules."""


@dataclass(frozen=True)
class Move:
    """A ProtectedVM whose VM is at another path now."""

    known: KnownVM
    seen: DiscoveredVM
    replaced: bool
    """Another VM is listed at the old path: it is certain that the object's own is not there."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels by the rules, at the VM's new path."""


@dataclass(frozen=True)
class Relabel:
    """A ProtectedVM whose labels differ from the rules, and whose VM is still at its path."""

    known: KnownVM
    seen: DiscoveredVM
    labels: Mapping[str, str]
    """Labels by the rules."""


Step = Creation | Move | Relabel


@dataclass(frozen=True)
class DiscoveryPlan:
    """What there is to do, and what was found on the way."""

    vms: int
    matched: int
    creations: tuple[Creation, ...]
    moves: tuple[Move, ...]
    relabels: tuple[Relabel, ...]
    vanished: tuple[KnownVM, ...]
    kept: tuple[KnownVM, ...]
    """Objects that no list has a VM for, though vCenter says that it knows one at their path."""
    present: tuple[tuple[KnownVM, DiscoveredVM], ...]
    """This appliance's objects with their VMs."""
    unusable: Mapping[str, str]
    """Why a matching VM can't have an object, by its path."""
    clones: int
    """Matching VMs whose BIOS UUID another one has, too."""


APPLIES_TO_ALL: Final = frozenset({"VCenterRefused", "VCenterUnreachable", "ApplianceUnreachable", "ApplianceInvalid"})
"""Reasons that hold for each question: vCenter counts failed logins, so nothing else is asked for."""


@dataclass
class DiscoveryRun:
    """A discovery. Lost with the process: the next one finds what is left to do."""

    specs: tuple[str, int]
    """UID and generation of the appliance."""
    since: float
    """When it began (monotonic seconds): lists of before are not its own."""
    begun: datetime
    """The same by the API server's clock."""
    problems: dict[str, Problem] = field(default_factory=dict)
    """Why a datacenter could not be listed, or (without a name) why nothing can be made."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why the API server took no object for a VM, by its path."""
    there: set[str] = field(default_factory=set)
    """Names of objects at whose path vCenter knows a VM, though no list has it: they follow no other."""
    doubts: dict[str, Problem] = field(default_factory=dict)
    """Why vCenter did not say whether a VM is still at its old path, by the name of its object."""
    plan: DiscoveryPlan | None = None
    steps: deque[Step] = field(default_factory=deque)
    """What of the plan is left to do."""
    planned: bool = False
    """Whether the plan had any: then there is another one after them, to see that nothing is left."""
    relabelled: set[str] = field(default_factory=set)
    """Names of the objects whose labels were changed. Once per run, which else never ends if a program reverts them."""
    looks: int = 0
    """In which something was done."""
    resume: float = 0.0
    """Not before that moment (monotonic seconds), so that no event hurries it."""
    created: int = 0
    updated: int = 0
    ended: float | None = None
    """When there was nothing left to do (monotonic seconds)."""

    @property
    def blocked(self) -> bool:
        """Whether it can't go on with anything."""
        return "" in self.problems

    @property
    def unlisted(self) -> frozenset[str]:
        """Datacenters that vCenter has, as far as anybody knows, and that could not be listed."""
        named = {name: problem.reason for name, problem in self.problems.items() if name}
        return frozenset(name for name, reason in named.items() if reason != "DatacenterNotFound")

    @property
    def failed(self) -> bool:
        """Whether something is left to the next one, which then comes sooner."""
        return bool(self.problems or self.doubts)

    def is_off(self, step: Step) -> bool:
        """Return whether the rest of this run leaves a step alone."""
        if step.seen.vm.path in self.refused:
            return True
        if isinstance(step, Relabel):
            return step.known.name in self.relabelled
        if isinstance(step, Creation) or step.replaced:
            return False
        return step.known.name in self.doubts or any(doubt.reason in APPLIES_TO_ALL for doubt in self.doubts.values())
