"""Who may start now: slots, one job a VM, ports. Computed from the Jobs that are there, never from a counter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sendense_operator.reconcile.ports import choose_host_ports


@dataclass(frozen=True)
class Limits:
    """What the objects that a Backup refers to allow."""

    repository_slots: int
    appliance_slots: int
    port_range: tuple[int, int] | None = None
    """For HostPort: lowest and highest port. None: no ports of the node are needed."""


@dataclass(frozen=True)
class Candidate:
    """A Backup that has all it needs, but for its turn."""

    namespace: str
    name: str
    vm: str
    vm_key: str
    repository: str
    appliance: str
    disks: int
    limits: Limits


@dataclass(frozen=True)
class Running:
    """A worker's Job that has not ended."""

    namespace: str
    job: str
    vm: str
    vm_key: str
    repository: str
    appliance: str
    ports: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Admitted:
    """It may start."""

    host_ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class Waits:
    """It waits, and this is what for."""

    reason: str
    message: str
    position: int = 0
    """1: next in the queue. 0: it waits for something else than a slot."""


@dataclass
class _State:
    """The workers as they would be after those ahead have started."""

    running: list[Running]
    waiting: list[Candidate] = field(default_factory=list)


def decide_admission(candidate: Candidate, ahead: Sequence[Candidate], running: Sequence[Running]) -> Admitted | Waits:
    """Whether `candidate` may start, after all those `ahead` in the queue that could start had started.

    One that can't start anyway (its VM is busy) does not hold up those behind it.
    """
    state = _State(list(running))
    for other in ahead:
        _place(other, state)
    return _place(candidate, state)


def _place(candidate: Candidate, state: _State) -> Admitted | Waits:
    wait = _busy(candidate, state.running) or _slots(candidate, state)
    verdict = wait if wait is not None else _ports(candidate, state)
    if isinstance(verdict, Admitted):
        state.running.append(_as_running(candidate, verdict))
    else:
        state.waiting.append(candidate)
    return verdict


def _as_running(candidate: Candidate, verdict: Admitted) -> Running:
    return Running(
        namespace=candidate.namespace,
        job=candidate.name,
        vm=candidate.vm,
        vm_key=candidate.vm_key,
        repository=candidate.repository,
        appliance=candidate.appliance,
        ports=frozenset(verdict.host_ports),
    )


def _busy(candidate: Candidate, running: Sequence[Running]) -> Waits | None:
    for other in _here(candidate, running):
        if other.vm == candidate.vm:
            return Waits("ChainBusy", f"VM {candidate.vm} is being backed up by {other.job}")
        if other.appliance == candidate.appliance and other.vm_key == candidate.vm_key:
            return Waits(
                "VMNameBusy",
                f"{other.job} backs up a VM of the same name on appliance {candidate.appliance}: "
                "the appliance could not tell them apart",
            )
    return None


def _slots(candidate: Candidate, state: _State) -> Waits | None:
    here = _here(candidate, state.running)
    on_repository = sum(1 for other in here if other.repository == candidate.repository)
    on_appliance = sum(1 for other in here if other.appliance == candidate.appliance)
    full = []
    if on_repository >= candidate.limits.repository_slots:
        full.append(f"repository {candidate.repository} ({candidate.limits.repository_slots} at a time)")
    if on_appliance >= candidate.limits.appliance_slots:
        full.append(f"appliance {candidate.appliance} ({candidate.limits.appliance_slots} at a time)")
    return _wait_for_slot(candidate, state, " and ".join(full)) if full else None


def _ports(candidate: Candidate, state: _State) -> Admitted | Waits:
    if candidate.limits.port_range is None:
        return Admitted()
    first, last = candidate.limits.port_range
    if candidate.disks > last - first + 1:
        return Waits(
            "PortRangeTooSmall",
            f"{candidate.disks} disks need as many ports, appliance {candidate.appliance} has {first}-{last}",
        )
    taken = {port for other in state.running for port in other.ports}
    ports = choose_host_ports(first, last, taken, candidate.disks)
    if ports is None:
        return _wait_for_slot(candidate, state, f"ports of {first}-{last}")
    return Admitted(tuple(ports))


def _wait_for_slot(candidate: Candidate, state: _State, what: str) -> Waits:
    rivals = [
        other
        for other in state.waiting
        if other.namespace == candidate.namespace
        and (other.repository == candidate.repository or other.appliance == candidate.appliance)
    ]
    position = len(rivals) + 1
    return Waits("WaitingForSlot", f"position {position} in the queue for {what}", position)


def _here(candidate: Candidate, running: Sequence[Running]) -> list[Running]:
    return [other for other in running if other.namespace == candidate.namespace]
