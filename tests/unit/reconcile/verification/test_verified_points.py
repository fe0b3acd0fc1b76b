"""Which restore points are verified when: each within the cycle, no more at a time than its share."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.support import sample
from tests.support.sample import NOON

from sendense_operator.api.v1alpha1.backup import BackupVerification
from sendense_operator.api.v1alpha1.backuppolicy import Verification
from sendense_operator.chain.memory_estimate import DiskLoad
from sendense_operator.reconcile.verification.verified_points import (
    Slot,
    VerifiedPoint,
    due_in_slot,
    due_on_request,
    verified_points,
)
from sendense_operator.task import VerificationLevel

DAY = timedelta(days=1)


def rules(days: int = 30, level: VerificationLevel = VerificationLevel.CONTENT) -> Verification:
    return Verification(schedule="0 12 * * *", full_cycle_days=days, level=level)


def point(name: str, day: float, read: float | None = None, **fields: object) -> VerifiedPoint:
    """Return a restore point that was committed, and last read, so many days after the first noon."""
    time = None if read is None else NOON + DAY * read
    known = BackupVerification(time=time, structure_time=time, content_time=time)
    return replace(VerifiedPoint(name, name, NOON + DAY * day, known), **fields)  # type: ignore[arg-type]


def slot(day: float) -> Slot:
    return Slot(NOON + DAY * day, DAY)


def names(points: list[VerifiedPoint]) -> list[str]:
    return [one.name for one in points]


def read(one: VerifiedPoint, at: datetime) -> VerifiedPoint:
    return replace(one, known=BackupVerification(time=at, structure_time=at, content_time=at))


def test_new_ones_come_first_and_the_share_is_of_those_read_longest_ago() -> None:
    points = [point(f"p{n}", n, 40 + n % 7) for n in range(30)] + [point("new1", 48), point("new2", 48.5)]
    assert names(due_in_slot(points, rules(), slot(49))) == ["new2", "new1", "p0"]


def test_what_came_after_the_slot_waits_for_the_next_one() -> None:
    assert due_in_slot([point("late", 5.1)], rules(), slot(5)) == []


def test_a_damaged_one_is_only_verified_on_request() -> None:
    damaged = point("bad", 1, is_damaged=True)
    assert due_in_slot([damaged], rules(), slot(5)) == []
    assert names(due_on_request([damaged], NOON + DAY * 5)) == ["bad"]
    assert due_on_request([damaged], None) == []
    assert names(due_on_request([replace(damaged, request="now")], None)) == ["bad"]


def test_one_that_could_not_be_read_is_not_tried_twice_in_a_slot() -> None:
    tried = replace(point("p", 1), known=BackupVerification(time=NOON + DAY * 5))
    assert due_in_slot([tried], rules(), slot(5)) == []
    assert names(due_in_slot([tried], rules(), slot(6))) == ["p"]


def test_the_structure_of_all() -> None:
    points = [point("a", 1, 4), point("b", 2), point("bad", 3, is_damaged=True)]
    assert names(due_in_slot(points, rules(level=VerificationLevel.STRUCTURE), slot(5))) == ["b", "a"]


@given(
    ages=st.lists(st.integers(0, 60), min_size=1, max_size=60),
    days=st.integers(1, 40),
    interrupted=st.integers(0, 5),
    new=st.integers(0, 2),
)
def test_each_is_read_within_the_cycle_whatever_interrupts(
    ages: list[int], days: int, interrupted: int, new: int
) -> None:
    points = [point(f"p{n}", -age) for n, age in enumerate(ages)]
    cycle = rules(days)
    for day in range(1, 2 * days + 3):
        points += [point(f"n{day}-{n}", day - 0.5) for n in range(new)]
        now = slot(day)
        never = sum(one.known.content_time is None for one in points)
        done = set[str]()
        while due := due_in_slot(points, cycle, now):
            # The pod is interrupted after a few, and goes on with what is left.
            some = {one.uid for one in (due[:interrupted] if interrupted else due)}
            assert not some & done, "nothing is read twice in a slot"
            done |= some
            points = [read(one, now.started + timedelta(hours=1)) if one.uid in some else one for one in points]
        limit = NOON + DAY * day + DAY  # until the next slot
        assert all(one.known.content_time is not None for one in points)
        assert all(limit - one.known.content_time <= DAY * (days + 1) for one in points if one.known.content_time)
        if day > 1 and days > 1 and not interrupted:
            # All were read on the first day, so the cycle forces them at its end; until then it is the share.
            assert day % days == 0 or day > days or len(done) <= never + math.ceil(len(points) / days)


def test_what_is_known_of_a_backup() -> None:
    status = {
        "phase": "Completed",
        "completionTime": sample.stamp(60),
        "verification": {"time": sample.stamp(90), "contentTime": sample.stamp(90), "request": "old"},
        "conditions": [{**sample.condition("Damaged", "Unreadable")}],
        "disks": [{"id": 0, "key": 2000, "virtualSize": 7 << 30, "depth": 3}, {"id": 1, "key": 2001, "virtualSize": 1}],
    }
    annotated = sample.backup("b1", status)
    annotated["metadata"]["annotations"] = {"backup.sendense.io/verify": "new"}
    running = sample.backup("b2", {"phase": "Running"})
    lost = sample.backup("b3", {"phase": "Lost", "completionTime": sample.stamp(1)})
    (found,) = verified_points([annotated, running, lost])
    assert (found.name, found.uid, found.request) == ("b1", annotated["metadata"]["uid"], "new")
    assert (found.is_damaged, found.load) == (True, DiskLoad(7 << 30, 3))
    assert not found.is_verified(None, NOON)


def test_when_one_counts_as_verified() -> None:
    assert point("p", 1, 2).is_verified(rules(), NOON + DAY * 32)
    assert not point("p", 1, 2).is_verified(rules(), NOON + DAY * 33)
    assert not point("p", 1).is_verified(rules(), NOON)
    assert not point("p", 1, 2, is_damaged=True).is_verified(None, NOON)
    checked = replace(point("p", 1), known=BackupVerification(structure_time=NOON))
    assert checked.is_verified(rules(level=VerificationLevel.STRUCTURE), NOON)
    assert checked.is_verified(None, NOON)
    assert not checked.is_verified(rules(), NOON)
