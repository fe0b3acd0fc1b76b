"""Progress as it is shown: it never falls while an attempt lasts, and is whole only when it is committed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.sample import GIB, NOON, at, completed_answer, report

from sendense_operator.answer import DiskAnswer
from sendense_operator.api.v1alpha1.backup import BackupDisk, BackupProgress
from sendense_operator.reconcile.backups.progress import (
    describe_result,
    final_disks,
    final_progress,
    merge_disks,
    merge_progress,
    percent_of,
    stopped_disks,
    stopped_progress,
)
from sendense_operator.reconcile.state.backup_type import backup_type_of
from sendense_operator.task import BackupType, DiskProgress, Progress, Stage

sizes = st.integers(0, 1 << 45)
reports = st.lists(
    st.builds(
        lambda counts, done, rate: Progress(
            job_id="j",
            stage=Stage.COPYING,
            started=NOON,
            disks=tuple(
                DiskProgress(index=i, virtual_size=1 << 40, received_bytes=count, completed=done and i == 0)
                for i, count in enumerate(counts)
            ),
            rate=rate,
        ),
        st.lists(sizes, min_size=3, max_size=3),
        st.booleans(),
        st.floats(0, 1e11),
    ),
    min_size=1,
    max_size=8,
)


@given(reports)
def test_no_number_falls_whatever_is_reported(reported: list[Progress]) -> None:
    disks: list[BackupDisk] = []
    progress: BackupProgress | None = None
    for number, one in enumerate(reported):
        before, old = {disk.index: disk for disk in disks}, progress
        disks = merge_disks(disks, one, whole=True)
        progress = merge_progress(progress, disks, one, whole=True, now=at(number))
        assert 0 <= progress.percent <= 99
        assert progress.summary == f"{progress.percent}%"
        if old is not None:
            assert progress.percent >= old.percent
            assert progress.received_bytes >= old.received_bytes
        for disk in disks:
            assert 0 <= disk.percent <= 100
            assert disk.percent >= (before[disk.index].percent if before else 0)
            assert disk.received_bytes >= (before[disk.index].received_bytes if before else 0)


@pytest.mark.parametrize(
    ("done", "total", "finished", "percent"),
    [
        (0, 100, False, 0),
        (99, 10000, False, 0),
        (50, 100, False, 50),
        (100, 100, False, 99),
        (150, 100, False, 99),
        (0, 0, False, 0),
        (1, 100, True, 100),
        (0, 0, True, 100),
    ],
)
def test_percent(done: int, total: int, finished: bool, percent: int) -> None:
    assert percent_of(done, total, finished=finished) == percent


def test_keys_of_the_disks_are_kept() -> None:
    known = [BackupDisk(index=0, key=2000, virtual_size=GIB), BackupDisk(index=1, key=2001, virtual_size=GIB)]
    assert [disk.key for disk in merge_disks(known, report(1, 2), whole=True)] == [2000, 2001]


def test_a_disk_that_is_complete_counts_whole() -> None:
    disks = (
        DiskProgress(index=0, virtual_size=GIB, received_bytes=GIB // 8, completed=True),
        DiskProgress(index=1, virtual_size=GIB, received_bytes=0),
    )
    reported = Progress(job_id="j", stage=Stage.COPYING, started=NOON, disks=disks)
    merged = merge_disks([], reported, whole=True)
    assert [disk.percent for disk in merged] == [100, 0]
    assert merge_progress(None, merged, reported, whole=True, now=NOON).percent == 50


def test_the_time_moves_only_with_something_else() -> None:
    reported = report(5)
    disks = merge_disks([], reported, whole=True)
    once = merge_progress(None, disks, reported, whole=True, now=at(1))
    assert merge_progress(once, disks, reported, whole=True, now=at(9)) == once
    moved = merge_progress(once, merge_disks(disks, report(6), whole=True), report(6), whole=True, now=at(9))
    assert moved.last_update_time == at(9)


def test_what_people_read() -> None:
    progress = merge_progress(
        None, merge_disks([], report(GIB // 2), whole=True), report(GIB // 2, rate=5 << 20), whole=True, now=NOON
    )
    assert (progress.summary, progress.rate, progress.eta) == ("50%", "5.0 MiB/s", "60s")


def test_how_long_an_increment_takes_is_not_known() -> None:
    progress = merge_progress(
        None, merge_disks([], report(GIB // 2), whole=True), report(GIB // 2), whole=False, now=NOON
    )
    assert (progress.summary, progress.eta, progress.eta_seconds) == ("512 MiB, 50% or more", "", None)


@pytest.mark.parametrize(
    ("estimate", "eta", "text"),
    [(2_592_000, 2_592_000, "30d0h"), (2_592_001, None, ""), (1 << 70, None, ""), (-1, None, ""), (None, None, "")],
)
def test_centuries_are_no_estimate(estimate: int | None, eta: int | None, text: str) -> None:
    reported = report(1, rate=0.001).model_copy(update={"eta_seconds": estimate})
    progress = merge_progress(None, merge_disks([], reported, whole=True), reported, whole=True, now=NOON)
    assert (progress.eta_seconds, progress.eta) == (eta, text)


FULL = completed_answer().disks[0]
INCREMENT = FULL.model_copy(
    update={
        "type": BackupType.INCREMENTAL,
        "parent": "b0",
        "parent_change_id": "52 de/0",
        "depth": 2,
        "received_bytes": 9,
    }
)


@pytest.mark.parametrize(
    ("disks", "kind", "words"),
    [
        ((FULL,), BackupType.FULL, "Full: 1 disk, 1.0 GiB, committed; 1.0 GiB sent, 256 MiB stored"),
        ((INCREMENT,), BackupType.INCREMENTAL, "Incremental: 1 disk, 1.0 GiB, committed; 9 B sent, 256 MiB stored"),
        (
            (INCREMENT, FULL),
            BackupType.FULL,
            "1 of 2 disks Incremental: 2 disks, 2.0 GiB, committed; 1.0 GiB sent, 512 MiB stored",
        ),
    ],
)
def test_what_ran(disks: tuple[DiskAnswer, ...], kind: BackupType, words: str) -> None:
    answer = completed_answer().model_copy(update={"disks": disks})
    assert (backup_type_of(answer.disks), describe_result(answer)) == (kind, words)


def test_an_increment_says_where_it_stands() -> None:
    resized = FULL.model_copy(update={"reason": "DiskResized"})
    found = final_disks(completed_answer().model_copy(update={"disks": (INCREMENT, resized)}))
    assert [(d.type, d.reason, d.parent, d.parent_change_id, d.depth) for d in found] == [
        (BackupType.INCREMENTAL, None, "b0", "52 de/0", 2),
        (BackupType.FULL, "DiskResized", None, None, 1),
    ]


def test_the_end() -> None:
    answer = completed_answer(disks=2)
    disks, progress = final_disks(answer), final_progress(answer, at(0), at(9))
    assert [(disk.percent, disk.key, disk.change_id) for disk in disks] == [
        (100, 2000, "52 de/0"),
        (100, 2001, "52 de/1"),
    ]
    assert (progress.percent, progress.total_bytes, progress.eta) == (100, 2 * GIB, "")
    seconds = (answer.finished - at(0)).total_seconds() if answer.finished else 0
    assert progress.rate_bytes_per_second == int(progress.received_bytes / seconds)
    assert progress.rate


def test_what_stops_keeps_how_far_it_came() -> None:
    running = merge_progress(
        None, merge_disks([], report(GIB // 2), whole=True), report(GIB // 2), whole=True, now=NOON
    )
    stopped = stopped_progress(running, NOON, at(16))
    assert stopped is not None
    assert (stopped.percent, stopped.rate, stopped.rate_bytes_per_second, stopped.eta_seconds) == (
        50,
        "32.0 MiB/s",
        GIB // 32,
        None,
    )
    assert stopped_progress(None, NOON, at(16)) is None
    never = stopped_progress(running, None, at(16))
    assert never is not None
    assert (never.rate, never.rate_bytes_per_second) == ("", 0)


@pytest.mark.parametrize("whole", [True, False])
def test_each_disk_has_its_rate_and_its_end(whole: bool) -> None:
    """Of the one whose turn it is; when an increment ends is not known."""
    reported = Progress(
        job_id="j",
        stage=Stage.COPYING,
        started=NOON,
        disks=(
            DiskProgress(index=0, virtual_size=GIB, received_bytes=GIB, completed=True),
            DiskProgress(index=1, virtual_size=GIB, received_bytes=GIB // 2, rate=5 << 20, eta_seconds=103),
            DiskProgress(index=2, virtual_size=GIB, received_bytes=300, rate=0.1, eta_seconds=1 << 40),
        ),
    )
    disks = merge_disks([], reported, whole=whole)
    assert [(disk.rate, disk.rate_bytes_per_second) for disk in disks] == [
        (None, None),
        ("5.0 MiB/s", 5 << 20),
        (None, None),
    ]
    ends = [(None, None), ("2m" if whole else None, 103 if whole else None), (None, None)]
    assert [(disk.eta, disk.eta_seconds) for disk in disks] == ends
    assert all(disk.rate is None and disk.eta_seconds is None for disk in stopped_disks(disks))
    assert [disk.percent for disk in stopped_disks(disks)] == [100, 50, 0]
