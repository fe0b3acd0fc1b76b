from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.task import Clocks
from sendense_operator.vma.stall_clocks import (
    CALLBACKS_DUE_S,
    CLIENT_NOTICES_S,
    Continue,
    Failed,
    JobObservation,
    are_callbacks_missing,
    decide_clocks,
    is_stuck,
)

CLOCKS = Clocks()
START = JobObservation(now=1000.0, started=1000.0, disks=2)


def seen(**changes: object) -> JobObservation:
    return replace(START, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "observation", "limit_at", "reason"),
    [
        ("nothing at all", seen(), 1300, "NoSignOfLife"),
        ("CBT being turned on", seen(cbt_enabled=False), 1900, "NoSignOfLife"),
        ("snapshot", seen(first_sign=1010), 2810, "SnapshotTimeout"),
        ("asked", seen(first_sign=1010, first_request=1100, last_request=1101), 1221, "NotConnected"),
        ("asked without a progress record", seen(first_request=1100, last_request=1100), 1220, "NotConnected"),
        (
            "gone before it completed",
            seen(last_request=1100, current_first_connected=1101, current_last_connected=1500),
            1680,
            "ConnectionLost",
        ),
        (
            "asked again after it was gone",
            seen(last_request=1550, current_first_connected=1101, current_last_connected=1500),
            1730,
            "ConnectionLost",
        ),
        (
            "between two disks",
            seen(completes=1, last_complete=1500, first_request=1100, last_bytes=1499),
            1680,
            "NextDiskMissing",
        ),
        (
            "second disk asked",
            seen(completes=1, last_complete=1500, first_request=1100, last_request=1502),
            1622,
            "NotConnected",
        ),
        (
            "connected",
            seen(current_connections=2, last_request=1100, current_first_connected=1102, current_last_connected=1200),
            2902,
            "Stalled",
        ),
        (
            "connected without any request",
            seen(current_connections=2, current_first_connected=1102, current_last_connected=1200),
            2902,
            "Stalled",
        ),
        (
            "data stopped",
            seen(current_connections=1, current_first_connected=1102, current_last_connected=1200, last_bytes=1600),
            3400,
            "Stalled",
        ),
        (
            "data stopped, health silent before",
            seen(current_connections=1, current_first_connected=1102, last_bytes=1600, unhealthy_since=1500),
            1900,
            "ApplianceSilent",
        ),
        (
            "data stopped, health silent after",
            seen(current_connections=1, current_first_connected=1102, last_bytes=1600, unhealthy_since=1700),
            2000,
            "ApplianceSilent",
        ),
        (
            "health fails late",
            seen(current_connections=1, current_first_connected=1102, last_bytes=1600, unhealthy_since=3390),
            3400,
            "Stalled",
        ),
    ],
)
def test_each_clock_runs_out_exactly_then(name: str, observation: JobObservation, limit_at: float, reason: str) -> None:
    before = decide_clocks(replace(observation, now=limit_at - 0.5), CLOCKS)
    assert isinstance(before, Continue), name
    assert before.deadline == limit_at
    assert before.waiting_for
    after = decide_clocks(replace(observation, now=limit_at), CLOCKS)
    assert isinstance(after, Failed), name
    assert after.reason == reason
    assert len(after.message) > 40


@pytest.mark.parametrize(
    ("name", "changes", "limit_at", "reason"),
    [
        ("the client is gone", {}, 1100 + CLIENT_NOTICES_S, "IncrementRefused"),
        ("it may still be there", {"connections": 1}, 1280, "IncrementRefused"),
        ("it sent telemetry last then", {"last_telemetry": 1105}, 1105 + CLIENT_NOTICES_S, "IncrementRefused"),
        ("it goes on telling", {"last_telemetry": 1275}, 1280, "ConnectionLost"),
        ("the appliance forgot the job", {"last_record": 1099}, 1280, "ConnectionLost"),
        ("the appliance never showed it", {"last_record": None}, 1280, "ConnectionLost"),
        ("it had written", {"current_may_have_data": True, "current_last_connected": 1100}, 1280, "ConnectionLost"),
    ],
)
def test_a_refused_change_id(name: str, changes: dict[str, object], limit_at: float, reason: str) -> None:
    asked = seen(first_request=1090, last_request=1100, current_copies_changes=True, last_record=1101)
    test_each_clock_runs_out_exactly_then(name, replace(asked, **changes), limit_at, reason)  # type: ignore[arg-type]


def test_export_gone_is_noticed_at_once() -> None:
    verdict = decide_clocks(seen(exports_gone=(1,), current_connections=2, current_first_connected=1000.0), CLOCKS)
    assert isinstance(verdict, Failed)
    assert verdict.reason == "ExportGone"
    assert "disk 1" in verdict.message


def test_nothing_counts_once_all_disks_are_complete() -> None:
    verdict = decide_clocks(seen(completes=2, last_complete=1001.0, exports_gone=(0, 1), now=1e9), CLOCKS)
    assert isinstance(verdict, Continue)


TIMES = st.none() | st.floats(1000, 5000)


@given(
    st.builds(
        JobObservation,
        now=st.floats(1000, 10000),
        started=st.just(1000.0),
        disks=st.just(2),
        completes=st.integers(0, 2),
        cbt_enabled=st.booleans(),
        first_sign=TIMES,
        first_request=TIMES,
        last_request=TIMES,
        last_complete=TIMES,
        current_connections=st.integers(0, 2),
        current_first_connected=TIMES,
        current_last_connected=TIMES,
        last_bytes=TIMES,
        unhealthy_since=TIMES,
    )
)
def test_every_wait_ends_and_stays_ended(observation: JobObservation) -> None:
    verdict = decide_clocks(observation, CLOCKS)
    later = decide_clocks(replace(observation, now=observation.now + 1), CLOCKS)
    if observation.completes == 2:
        assert isinstance(verdict, Continue)
    elif isinstance(verdict, Failed):
        assert later == verdict
    else:
        assert verdict.deadline > observation.now
        end = decide_clocks(replace(observation, now=verdict.deadline), CLOCKS)
        assert isinstance(end, Failed)


@pytest.mark.parametrize(
    ("waited", "last", "stuck"),
    [
        (17.0, None, False),
        (17.0, 99.0, False),  # before the exports were gone
        (17.0, 110.9, False),  # a client of a full takes up to 11 s to notice
        (17.0, 111.1, True),
        (20.0, 118.0, True),
        (6.0, 103.9, False),
        (6.0, 104.1, True),
    ],
)
def test_a_client_that_tells_of_itself_after_its_export_is_gone_is_stuck(
    waited: float, last: float | None, stuck: bool
) -> None:
    assert is_stuck(100.0, waited, last, connected=True) is stuck
    # One that was never on an export can't hang on it.
    assert not is_stuck(100.0, waited, last, connected=False)


@pytest.mark.parametrize(
    ("name", "observation", "limit_at", "reason"),
    [
        ("during the snapshot", seen(first_sign=1010, current_last_connected=1100), 2810, "SnapshotTimeout"),
        ("before the first sign", seen(current_last_connected=1100), 1300, "NoSignOfLife"),
        (
            "between two disks",
            seen(completes=1, last_complete=1500, first_request=1100, current_last_connected=1501),
            1680,
            "NextDiskMissing",
        ),
    ],
)
def test_a_stray_connection_is_not_taken_for_the_client(
    name: str, observation: JobObservation, limit_at: float, reason: str
) -> None:
    """A port scanner's, or the health check of a tunnel."""
    before = decide_clocks(replace(observation, now=limit_at - 0.5), CLOCKS)
    assert isinstance(before, Continue), name
    assert before.deadline == limit_at
    after = decide_clocks(replace(observation, now=limit_at), CLOCKS)
    assert isinstance(after, Failed), name
    assert after.reason == reason


def test_a_stray_connection_before_its_turn_costs_the_next_disk_nothing() -> None:
    """The client lives: it has just completed a disk."""
    observation = seen(
        now=10_000, completes=1, last_complete=9_999.9, current_last_connected=1_100, current_may_have_data=True
    )
    verdict = decide_clocks(observation, CLOCKS)
    assert isinstance(verdict, Continue)


def test_a_stuck_client_has_the_time_to_tell() -> None:
    assert CLOCKS.cancel > CLIENT_NOTICES_S + 5


COPIES = {"current_connections": 2, "current_first_connected": 1100.0, "last_bytes": 1100.0 + CALLBACKS_DUE_S}


@pytest.mark.parametrize(
    ("observation", "missing"),
    [
        (seen(**COPIES), True),
        (seen(**{**COPIES, "last_bytes": 1099.0 + CALLBACKS_DUE_S, "now": 9999.0}), False),
        (seen(**{**COPIES, "current_first_connected": None}), False),
        (seen(**{**COPIES, "last_bytes": None}), False),
        (seen(**COPIES, first_request=1099.0), False),
        (seen(**COPIES, last_telemetry=1101.0), False),
        (seen(**COPIES, completes=1), False),
    ],
)
def test_a_copy_without_callbacks(observation: JobObservation, missing: bool) -> None:
    assert are_callbacks_missing(observation) is missing
