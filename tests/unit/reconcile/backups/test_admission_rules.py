"""Who may start: never more than the slots, never two a VM, never the same port twice, and nobody is overtaken."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.reconcile.backups.admission_rules import decide_admission, decide_queue
from sendense_operator.reconcile.backups.host_ports import choose_host_ports
from sendense_operator.reconcile.state.queue_records import Admitted, Candidate, Limits, RunningJob, Waits

ROOMY = Limits(repository_slots=9, appliance_slots=9)
ONE = Candidate("shop", "b1", "db", "key-db", "store", "vma", 2, ROOMY)
SAME = replace(ONE, vm_identity="db")
BUSY = RunningJob("shop", "b0", "web", "key-web", "store", "vma")


def with_limits(**limits: object) -> Candidate:
    return replace(ONE, limits=replace(ROOMY, **limits))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("candidate", "running", "reason"),
    [
        (ONE, [], None),
        (ONE, [BUSY], None),
        (ONE, [replace(BUSY, vm="db")], "ChainBusy"),
        (ONE, [replace(BUSY, vm="db", repository="other", appliance="other")], "ChainBusy"),
        (ONE, [replace(BUSY, vm_key="key-db")], "VMNameBusy"),
        (ONE, [replace(BUSY, vm_key="key-db", appliance="other")], None),
        (ONE, [replace(BUSY, vm="db", vm_key="key-db", namespace="elsewhere")], None),
        (SAME, [replace(BUSY, vm_identity="db")], "VMBusy"),
        (SAME, [replace(BUSY, vm_identity="db", repository="other", appliance="other")], "VMBusy"),
        (SAME, [replace(BUSY, vm_identity="db", namespace="elsewhere")], "VMBusy"),
        (SAME, [replace(BUSY, vm_identity="db", vm="db")], "ChainBusy"),
        (SAME, [replace(BUSY, vm_identity="web")], None),
        (ONE, [replace(BUSY, vm_identity="")], None),
        (with_limits(repository_slots=1), [BUSY], "WaitingForSlot"),
        (with_limits(repository_slots=1), [replace(BUSY, repository="other")], None),
        (with_limits(appliance_slots=1), [BUSY], "WaitingForSlot"),
        (with_limits(appliance_slots=1), [replace(BUSY, appliance="other")], None),
        (with_limits(appliance_slots=1), [replace(BUSY, namespace="elsewhere")], None),
        (with_limits(port_range=(10, 11)), [replace(BUSY, ports=frozenset({11}))], "WaitingForSlot"),
        (with_limits(port_range=(10, 11)), [replace(BUSY, namespace="x", ports=frozenset({11}))], "WaitingForSlot"),
        (with_limits(port_range=(10, 10)), [], "PortRangeTooSmall"),
    ],
)
def test_what_a_candidate_waits_for(candidate: Candidate, running: list[RunningJob], reason: str | None) -> None:
    verdict = decide_admission(candidate, [], running)
    assert (verdict.reason if isinstance(verdict, Waits) else None) == reason


def test_the_message_names_what_it_waits_for_and_the_position() -> None:
    limits = Limits(repository_slots=1, appliance_slots=1)
    ahead = [replace(ONE, name=f"b{number}", vm=f"vm{number}", vm_key=str(number), limits=limits) for number in (2, 3)]
    verdict = decide_admission(replace(ONE, limits=limits), ahead, [BUSY])
    assert isinstance(verdict, Waits)
    assert verdict.position == 3
    assert "position 3" in verdict.message
    assert "repository store (1 at a time)" in verdict.message
    assert "appliance vma (1 at a time)" in verdict.message


def test_nothing_is_reported_of_other_namespaces() -> None:
    verdict = decide_admission(SAME, [], [replace(BUSY, vm_identity="db", namespace="elsewhere")])
    assert isinstance(verdict, Waits)
    assert not {"elsewhere", "b0"} & set(verdict.message.split())


def test_one_ahead_has_the_vm_for_itself() -> None:
    ahead = replace(SAME, name="b0", vm="db-too", vm_key="key-too", appliance="other")
    verdict = decide_admission(SAME, [ahead], [])
    assert isinstance(verdict, Waits)
    assert (verdict.reason, verdict.position) == ("VMBusy", 0)


def test_those_ahead_go_first() -> None:
    limits = Limits(repository_slots=1, appliance_slots=9)
    ahead = replace(ONE, name="b0", vm="web", vm_key="key-web", limits=limits)
    verdict = decide_admission(replace(ONE, limits=limits), [ahead], [])
    assert isinstance(verdict, Waits)
    assert verdict.reason == "WaitingForSlot"


def test_one_that_can_not_start_anyway_holds_nobody_up() -> None:
    limits = Limits(repository_slots=2, appliance_slots=9)
    ahead = replace(ONE, name="b0", vm="web", vm_key="key-web", limits=limits)  # its VM is busy
    assert decide_admission(replace(ONE, limits=limits), [ahead], [BUSY]) == Admitted()


def test_ports_of_those_ahead_are_kept_for_them() -> None:
    limits = Limits(9, 9, (10, 14))
    ahead = replace(ONE, name="b0", vm="web", vm_key="key-web", limits=limits)
    assert decide_admission(replace(ONE, limits=limits), [ahead], []) == Admitted((12, 13))


names = st.sampled_from(["a", "b", "c"])
flips = st.booleans()


@st.composite
def queues(draw: st.DrawFn) -> list[Candidate]:
    """Backups of few VMs, repositories and appliances; an object has the same limits for all that refer to it."""
    repositories = {name: draw(st.integers(1, 3)) for name in "abc"}
    appliances = {name: draw(st.integers(1, 3)) for name in "abc"}
    ranges = {name: draw(st.sampled_from([None, (100, 104), (103, 110)])) for name in "abc"}
    queue = []
    for number in range(draw(st.integers(0, 12))):
        repository, appliance = draw(names), draw(names)
        limits = Limits(repositories[repository], appliances[appliance], ranges[appliance])
        vm = draw(st.sampled_from(["v1", "v2", "v3", "v4", "v5", "v6"]))
        key = draw(st.sampled_from([vm, "shared"]))
        disks = draw(st.integers(1, 4))
        identity = draw(st.sampled_from(["", vm, "twin"]))
        queue.append(Candidate("shop", f"b{number:02}", vm, key, repository, appliance, disks, limits, identity))
    return queue


@given(queues(), st.data())
def test_nothing_is_ever_given_twice(queue: list[Candidate], data: st.DataObject) -> None:
    """Play the queue as the controller does: in any order of looking, with workers that end in between."""
    waiting = list(queue)
    running: dict[str, RunningJob] = {}
    for _ in range(3 * len(queue)):
        if not waiting:
            break
        candidate = data.draw(st.sampled_from(waiting))
        ahead = [other for other in waiting if other.name < candidate.name]
        verdict = decide_admission(candidate, ahead, list(running.values()))
        if isinstance(verdict, Admitted):
            waiting.remove(candidate)
            _check_ports(candidate, verdict, list(running.values()))
            running[candidate.name] = RunningJob(
                "shop",
                candidate.name,
                candidate.vm,
                candidate.vm_key,
                candidate.repository,
                candidate.appliance,
                frozenset(verdict.host_ports),
                candidate.vm_identity,
            )
            _check(queue, list(running.values()))
        elif data.draw(flips) and running:
            del running[data.draw(st.sampled_from(sorted(running)))]


def _check(queue: list[Candidate], running: list[RunningJob]) -> None:
    assert len({job.vm for job in running}) == len(running)
    assert len({(job.appliance, job.vm_key) for job in running}) == len(running)
    identities = [job.vm_identity for job in running if job.vm_identity]
    assert len(set(identities)) == len(identities)
    for candidate in queue:
        on_repository = [job for job in running if job.repository == candidate.repository]
        on_appliance = [job for job in running if job.appliance == candidate.appliance]
        assert len(on_repository) <= candidate.limits.repository_slots
        assert len(on_appliance) <= candidate.limits.appliance_slots


def _check_ports(candidate: Candidate, verdict: Admitted, running: list[RunningJob]) -> None:
    ports, allowed = verdict.host_ports, candidate.limits.port_range
    if allowed is None:
        assert ports == ()
        return
    assert len(set(ports)) == len(ports) == candidate.disks
    assert all(allowed[0] <= port <= allowed[1] for port in ports)
    assert not any(set(ports) & job.ports for job in running)


jobs = st.lists(
    st.builds(RunningJob, st.sampled_from(["shop", "elsewhere"]), st.just("old"), names, names, names, names),
    max_size=4,
)


@given(queues(), jobs)
def test_what_is_decided_for_all_at_once_is_what_is_decided_for_each(
    queue: list[Candidate], running: list[RunningJob]
) -> None:
    verdicts = decide_queue(queue, running)
    assert verdicts == [decide_admission(one, queue[:number], running) for number, one in enumerate(queue)]
    for number, (one, verdict) in enumerate(zip(queue, verdicts, strict=True)):
        if isinstance(verdict, Waits) and verdict.position:
            before = zip(queue[:number], verdicts[:number], strict=True)
            waiting = [other for other, its in before if isinstance(its, Waits)]
            rivals = [c for c in waiting if c.repository == one.repository or c.appliance == one.appliance]
            assert verdict.position == len(rivals) + 1


@given(queues())
def test_the_first_of_an_idle_queue_starts(queue: list[Candidate]) -> None:
    """Unless its disks never fit: nobody waits for nothing."""
    fits = [c for c in queue if c.limits.port_range is None or c.disks <= 5]
    if fits:
        assert isinstance(decide_admission(fits[0], [], []), Admitted)


@given(st.integers(1, 65535), st.integers(0, 40), st.sets(st.integers(1, 65535), max_size=40), st.integers(1, 20))
def test_chosen_ports_are_free_and_lowest(first: int, size: int, taken: set[int], count: int) -> None:
    last = min(first + size, 65535)
    ports = choose_host_ports(first, last, taken, count)
    free = sorted(set(range(first, last + 1)) - taken)
    assert ports == (free[:count] if len(free) >= count else None)
