"""Slots of schedules by a clock that a test sets: a year, nights of change, pauses, wrong clocks, changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from sendense_operator.api.v1alpha1.backuppolicy import CatchUp, Schedule, ScheduleStatus
from sendense_operator.reconcile.protection.slots import Advanced, advance, offsets, window

BEGIN = datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class Rig:
    """One schedule; its state is all that outlives a check."""

    def __init__(self, cron: str, zone: str = "UTC", catch_up: CatchUp = CatchUp.ONCE) -> None:
        self.schedule = Schedule(name="s", cron=cron, time_zone=zone)
        self.catch_up = catch_up
        self.now = BEGIN
        self.state: ScheduleStatus | None = None
        self.slots: list[datetime] = []
        self.check()

    def check(self, *, suspended: bool = False) -> Advanced:
        """Advance to now; a slot that opened is run at once."""
        stored = ScheduleStatus.model_validate(self.state.to_dict()) if self.state is not None else None
        advanced = advance(
            self.schedule, stored, begin=BEGIN, suspended=suspended, catch_up=self.catch_up, now=self.now
        )
        self.state = advanced.status
        if self.state.open and self.state.slot is not None:
            self.slots.append(self.state.slot)
            self.state.open = False
        return advanced

    def run(self, span: timedelta, step: timedelta) -> list[datetime]:
        """Check at each step; return the slots that were run."""
        end, before = self.now + span, len(self.slots)
        while self.now < end:
            self.now += step
            self.check()
        return self.slots[before:]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "UTC"])
def test_each_day_of_a_year_once(zone: str) -> None:
    rig = Rig("30 2 * * *", zone)
    slots = rig.run(365 * DAY, HOUR)
    assert len(slots) == len(set(slots)) == 365


def test_each_hour_of_the_nights_of_change_once() -> None:
    for night, hours in ((datetime(2026, 3, 28, 23, tzinfo=UTC), 23), (datetime(2026, 10, 24, 22, tzinfo=UTC), 25)):
        rig = Rig("0 * * * *", "Europe/Berlin")
        rig.now = night - MINUTE
        rig.check()
        slots = rig.run(hours * HOUR, MINUTE)
        assert len(slots) == len(set(slots)) == hours


def test_a_new_policy_makes_up_for_nothing() -> None:
    rig = Rig("0 2 * * *")
    assert rig.slots == []
    assert rig.state is not None
    assert rig.state.next_time == datetime(2026, 1, 1, 2, tzinfo=UTC)


def test_a_policy_that_nobody_saw_for_an_hour_runs_its_slots_since_its_creation() -> None:
    state = advance(
        Schedule(name="s", cron="30 0 * * *"),
        None,
        begin=BEGIN,
        suspended=False,
        catch_up=CatchUp.ONCE,
        now=BEGIN + HOUR,
    ).status
    assert state.slot == BEGIN.replace(minute=30, second=0)


@pytest.mark.parametrize(("catch_up", "runs"), [(CatchUp.ONCE, 1), (CatchUp.SKIP, 0)])
def test_three_days_without_a_controller(catch_up: CatchUp, runs: int) -> None:
    rig = Rig("0 2 * * *", catch_up=catch_up)
    rig.now += 3 * DAY
    advanced = rig.check()
    assert len(rig.slots) == runs
    assert advanced.missed == (None if runs else datetime(2026, 1, 3, 2, tzinfo=UTC))
    assert rig.run(DAY, MINUTE) == [datetime(2026, 1, 4, 2, tzinfo=UTC)]


def test_what_is_made_up_for_is_spread_from_now_on() -> None:
    rig = Rig("0 2 * * *")
    rig.now += 3 * DAY
    rig.check()
    assert rig.state is not None
    assert rig.state.started is not None
    assert rig.state.started >= rig.now - timedelta(seconds=1)


def test_a_slot_that_is_noticed_in_time_starts_when_it_was_due() -> None:
    rig = Rig("0 2 * * *", catch_up=CatchUp.SKIP)
    rig.now = datetime(2026, 1, 1, 2, 3, tzinfo=UTC)
    rig.check()
    assert rig.state is not None
    assert rig.state.started == rig.state.slot == datetime(2026, 1, 1, 2, tzinfo=UTC)


def test_the_clock_is_set_back_an_hour() -> None:
    rig = Rig("0 * * * *")
    before = rig.run(5 * HOUR, MINUTE)
    rig.now -= HOUR
    after = rig.run(5 * HOUR, MINUTE)
    assert max(Counter(before + after).values()) == 1
    assert len(before + after) == 9


def test_a_clock_that_was_a_year_ahead_does_not_stop_the_schedule() -> None:
    rig = Rig("0 2 * * *")
    rig.now += 365 * DAY
    rig.check()
    rig.now -= 365 * DAY
    assert rig.run(DAY, MINUTE) == [datetime(2026, 1, 1, 2, tzinfo=UTC)]


@pytest.mark.parametrize("whole_policy", [True, False])
def test_suspended_and_resumed_without_a_run(whole_policy: bool) -> None:
    rig = Rig("0 2 * * *")
    for _ in range(2):
        rig.schedule.suspend = not whole_policy
        rig.check(suspended=whole_policy)
        assert rig.state is not None
        assert rig.state.next_time is None
        rig.now += DAY  # the controller is away, too
    rig.schedule.suspend = False
    rig.check()
    assert rig.slots == []
    assert rig.run(DAY, MINUTE) == [datetime(2026, 1, 4, 2, tzinfo=UTC) - DAY]


@pytest.mark.parametrize(
    "change", [{"cron": "0 10 * * *"}, {"time_zone": "Asia/Tokyo"}], ids=["another time", "another zone"]
)
def test_changed_in_the_middle_of_the_day(change: dict[str, str]) -> None:
    rig = Rig("0 2 * * *")
    assert len(rig.run(12 * HOUR, MINUTE)) == 1
    for name, value in change.items():
        setattr(rig.schedule, name, value)
    rig.check()
    assert len(rig.slots) == 1, "a slot that passed before the change is not made up for"
    assert len(rig.run(DAY, MINUTE)) == 1


def test_a_schedule_of_each_minute() -> None:
    rig = Rig("* * * * *")
    assert len(rig.run(2 * HOUR, timedelta(seconds=20))) == 120


def minutes_of(vms: int, jitter: timedelta) -> Iterator[int]:
    for _, offset in offsets([f"vm{number}" for number in range(vms)], "policy", jitter):
        yield int(offset / MINUTE)


def test_two_hundred_vms_are_spread_evenly() -> None:
    counts = Counter(minutes_of(200, HOUR))
    assert len(counts) == 60
    assert max(counts.values()) <= 2 * 200 / 60


def test_offsets_do_not_depend_on_the_order_and_differ_between_policies() -> None:
    vms = [f"vm{number}" for number in range(20)]
    assert dict(offsets(vms, "a", HOUR)) == dict(offsets(reversed(vms), "a", HOUR))
    assert dict(offsets(vms, "a", HOUR)) != dict(offsets(vms, "b", HOUR))
    assert set(dict(offsets(vms, "a", timedelta())).values()) == {timedelta()}


def test_all_backups_of_a_slot_come_before_the_next_one() -> None:
    started = datetime(2026, 1, 1, 2, tzinfo=UTC)
    state = ScheduleStatus(name="s", since=started, started=started, next_time=started + 10 * MINUTE)
    assert window(state, HOUR) == 10 * MINUTE
    assert window(state, 5 * MINUTE) == 5 * MINUTE
    state.started = started + 20 * MINUTE
    assert window(state, HOUR) == timedelta()
