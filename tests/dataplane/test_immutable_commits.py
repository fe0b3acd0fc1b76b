"""A real worker commits an immutable restore point, and a real maintenance pod refuses to remove it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.dataplane.rig import Bench
from tests.dataplane.test_full import MIB, manifest_of
from tests.dataplane.vma import Vma

from sendense_operator.task import Immutability, ProbeTask, Removal
from sendense_operator.worker.storage.immutable_bit import release

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def released(bench: Bench) -> Iterator[None]:
    """Where this process may set the immutable bit, the workers set it."""
    yield
    for path in bench.repository.rglob("*"):
        if path.is_file():
            release(path)


def maintenance(bench: Bench, removal: Removal, now: datetime, *, scan: bool = False) -> ProbeTask:
    return ProbeTask(
        namespace="shop",
        repository="main",
        repository_uid=bench.repository_id,
        remove=(removal,),
        scan=scan,
        immutability=Immutability(now=now, days=3),
    )


def test_a_restore_point_with_a_time(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 8 * MIB, "kind": "random"})
    begin = datetime.now(UTC)
    given = {"now": (begin - timedelta(hours=1)).isoformat(), "days": 3}
    task = bench.task(vm, immutability=given)
    answer = bench.run(task)
    manifest = manifest_of(bench, answer)
    assert manifest.retain_until == answer.retain_until
    assert manifest.retain_until is not None
    assert begin + 3 * DAY <= manifest.retain_until <= datetime.now(UTC) + 3 * DAY + timedelta(seconds=1)
    again = bench.run(task)
    assert (again.adopted, again.retain_until) == (True, answer.retain_until)
    files = bench.files()
    removal = Removal(vm="db", backup=task.backup, backup_uid=task.backup_uid)
    for now in (begin, begin + 1000 * DAY):
        refused = bench.run(maintenance(bench, removal, now, scan=True))
        assert refused.outcome == "Completed"
        assert bench.files() == files
    bench.assert_identical(vm, answer)


def test_without_days_it_has_none(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 8 * MIB, "kind": "random"})
    task = bench.task(vm, immutability={"now": datetime.now(UTC).isoformat()})
    answer = bench.run(task)
    assert answer.retain_until is None
    assert b"retainUntil" not in (bench.repository / answer.manifest).read_bytes()
    past = bench.run(
        maintenance(bench, Removal(vm="db", backup=task.backup, backup_uid=task.backup_uid), datetime.now(UTC))
    )
    assert past.outcome == "Completed"
    assert answer.manifest in bench.files(), "the days of the repository apply to it"


def test_a_window_that_is_over_ends(bench: Bench, vma: Vma) -> None:
    """By both clocks: the task was made long ago."""
    vm = vma.make_vm({"size": 8 * MIB, "kind": "random"})
    long_ago = datetime.now(UTC) - 60 * DAY
    task = bench.task(vm, immutability={"now": long_ago.isoformat(), "days": 3})
    answer = bench.run(task)
    assert answer.retain_until is not None
    assert answer.retain_until < datetime.now(UTC), "a pod's clock lengthens it by 30 days at most"
    removal = Removal(vm="db", backup=task.backup, backup_uid=task.backup_uid)
    over = ProbeTask(
        namespace="shop",
        repository="main",
        repository_uid=bench.repository_id,
        remove=(removal,),
        immutability=Immutability(now=datetime.now(UTC)),
    )
    assert bench.run(over).outcome == "Completed"
    assert bench.files() == set()
