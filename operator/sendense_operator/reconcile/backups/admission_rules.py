"""Who may start now: slots, one job per VM, ports. Computed from the Jobs that are there, never from a counter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sendense_operator.reconcile.backups.host_ports import choose_host_ports
from sendense_operator.reconcile.state.queue_records import AdmissionDecision, Admitted, Candidate, RunningJob, Waits


def decide_admission(
    candidate: Candidate, ahead: Sequence[Candidate], running: Sequence[RunningJob]
) -> AdmissionDecision:
    """Return whether `candidate` may start, after all those `ahead` in the queue that could start had started.

    One that can't start anyway (its VM is busy) does not hold up those behind it.
    """
    return decide_queue([*ahead, candidate], running)[-1]


def decide_queue(queue: Iterable[Candidate], running: Iterable[RunningJob]) -> list[AdmissionDecision]:
    """Return the same of each of a queue, in its order; one pass, however long it is."""
    state = _State()
    for job in running:
        state.add_running(job)
    return [_place(candidate, state) for candidate in queue]


@dataclass
class _State:
    """The workers as they would be after those ahead have started, and those who wait. Keys begin with a namespace."""

    vms: dict[tuple[str, str], str] = field(default_factory=dict)
    """Job by VM."""
    vm_keys: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """Job by appliance and VM key."""
    vm_identities: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Namespace and job by VM of a vCenter, of all namespaces."""
    on_repository: Counter[tuple[str, str]] = field(default_factory=Counter)
    on_appliance: Counter[tuple[str, str]] = field(default_factory=Counter)
    ports: set[int] = field(default_factory=set)
    """Of all namespaces: they share the nodes."""
    wait_for_repository: Counter[tuple[str, str]] = field(default_factory=Counter)
    wait_for_appliance: Counter[tuple[str, str]] = field(default_factory=Counter)
    wait_for_both: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add_running(self, job: RunningJob) -> None:
        """One more worker."""
        self.vms.setdefault((job.namespace, job.vm), job.job)
        self.vm_keys.setdefault((job.namespace, job.appliance, job.vm_key), job.job)
        self.vm_identities.setdefault(job.vm_identity, (job.namespace, job.job))
        self.on_repository[job.namespace, job.repository] += 1
        self.on_appliance[job.namespace, job.appliance] += 1
        self.ports |= job.ports

    def add_waiting(self, candidate: Candidate) -> None:
        """One more that waits."""
        self.wait_for_repository[candidate.namespace, candidate.repository] += 1
        self.wait_for_appliance[candidate.namespace, candidate.appliance] += 1
        self.wait_for_both[candidate.namespace, candidate.repository, candidate.appliance] += 1

    def rivals(self, candidate: Candidate) -> int:
        """Return how many wait for the same repository or the same appliance."""
        namespace, repository, appliance = candidate.namespace, candidate.repository, candidate.appliance
        either = self.wait_for_repository[namespace, repository] + self.wait_for_appliance[namespace, appliance]
        return either - self.wait_for_both[namespace, repository, appliance]


def _place(candidate: Candidate, state: _State) -> AdmissionDecision:
    wait = _busy(candidate, state) or _slots(candidate, state)
    verdict = wait if wait is not None else _ports(candidate, state)
    if isinstance(verdict, Admitted):
        state.add_running(_as_running(candidate, verdict))
    else:
        state.add_waiting(candidate)
    return verdict


def _as_running(candidate: Candidate, verdict: Admitted) -> RunningJob:
    return RunningJob(
        namespace=candidate.namespace,
        job=candidate.name,
        vm=candidate.vm,
        vm_key=candidate.vm_key,
        repository=candidate.repository,
        appliance=candidate.appliance,
        ports=frozenset(verdict.host_ports),
        vm_identity=candidate.vm_identity,
    )


def _busy(candidate: Candidate, state: _State) -> Waits | None:
    job = state.vms.get((candidate.namespace, candidate.vm))
    if job is not None:
        return Waits("ChainBusy", f"VM {candidate.vm} is being backed up by {job}")
    if candidate.vm_identity and candidate.vm_identity in state.vm_identities:
        namespace, job = state.vm_identities[candidate.vm_identity]
        who = job if namespace == candidate.namespace else "a Backup of another namespace"
        return Waits("VMBusy", f"{who} backs up the same VM: a second job would delete the first one's snapshot")
    job = state.vm_keys.get((candidate.namespace, candidate.appliance, candidate.vm_key))
    if job is not None:
        return Waits(
            "VMNameBusy",
            f"{job} backs up a VM of the same name on appliance {candidate.appliance}: "
            "the appliance could not tell them apart",
        )
    return None


def _slots(candidate: Candidate, state: _State) -> Waits | None:
    limits, full = candidate.limits, []
    if state.on_repository[candidate.namespace, candidate.repository] >= limits.repository_slots:
        full.append(f"repository {candidate.repository} ({limits.repository_slots} at a time)")
    if state.on_appliance[candidate.namespace, candidate.appliance] >= limits.appliance_slots:
        full.append(f"appliance {candidate.appliance} ({limits.appliance_slots} at a time)")
    return _wait_for_slot(candidate, state, " and ".join(full)) if full else None


def _ports(candidate: Candidate, state: _State) -> AdmissionDecision:
    if candidate.limits.port_range is None:
        return Admitted()
    first, last = candidate.limits.port_range
    if candidate.disks > last - first + 1:
        return Waits(
            "PortRangeTooSmall",
            f"{candidate.disks} disks need as many ports, appliance {candidate.appliance} has {first}-{last}",
        )
    ports = choose_host_ports(first, last, state.ports, candidate.disks)
    if ports is None:
        return _wait_for_slot(candidate, state, f"ports of {first}-{last}")
    return Admitted(tuple(ports))


def _wait_for_slot(candidate: Candidate, state: _State, what: str) -> Waits:
    position = state.rivals(candidate) + 1
    return Waits("WaitingForSlot", f"position {position} in the queue for {what}", position)
