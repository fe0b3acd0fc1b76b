"""Progress of a Restore: nothing falls, and 100% only at the end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.api.v1alpha1.restore import RestoredDiskStatus
from sendense_operator.reconcile.restores.restore_progress import merge_disks, merge_progress, message_of
from sendense_operator.task import DiskProgress, Progress, Stage

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SIZES = (1 << 30, 3 << 20)


def report(*done: int, stage: Stage = Stage.RESTORING, rate: float = 0.0, eta: int | None = None) -> Progress:
    disks = tuple(
        DiskProgress(index=index, virtual_size=SIZES[index], received_bytes=count, rate=rate, eta_seconds=eta)
        for index, count in enumerate(done)
    )
    return Progress(job_id="", stage=stage, started=NOW, disks=disks, rate=rate, eta_seconds=eta)


def disks() -> list[RestoredDiskStatus]:
    return [RestoredDiskStatus(index=index, virtual_size=size) for index, size in enumerate(SIZES)]


@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40)), min_size=1, max_size=6))
def test_nothing_falls_and_nothing_is_complete_before_the_end(reports: list[tuple[int, int]]) -> None:
    known, total = disks(), None
    for done in reports:
        merged = merge_disks(known, report(*done))
        progress = merge_progress(total, merged, report(*done), NOW)
        for before, after in zip(known, merged, strict=True):
            assert before.processed_bytes <= after.processed_bytes <= after.virtual_size
            assert before.percent <= after.percent <= 99
        assert total is None or total.percent <= progress.percent
        assert total is None or total.processed_bytes <= progress.processed_bytes
        assert progress.percent <= 99
        assert progress.summary == f"{progress.percent}%"
        known, total = merged, progress


def test_a_disk_that_the_worker_does_not_know_stays() -> None:
    (first, second) = merge_disks(disks(), report(1 << 29))
    assert (first.percent, second.percent) == (50, 0)


@pytest.mark.parametrize(("eta", "shown"), [(None, ""), (30, "30s"), (10**9, ""), (-1, "")])
def test_only_sensible_estimates_are_shown(eta: int | None, shown: str) -> None:
    seen = report(1, 1, rate=1e6, eta=eta)
    merged = merge_disks(disks(), seen)
    assert merge_progress(None, merged, seen, NOW).eta == shown
    assert (merged[0].eta or "") == shown


def test_the_time_moves_only_with_something_new() -> None:
    seen = report(1 << 20, 0)
    first = merge_progress(None, merge_disks(disks(), seen), seen, NOW)
    later = NOW.replace(hour=13)
    assert merge_progress(first, merge_disks(disks(), seen), seen, later).last_update_time == NOW
    more = report(1 << 29, 0)
    assert merge_progress(first, merge_disks(disks(), more), more, later).last_update_time == later


@pytest.mark.parametrize(
    ("stage", "verify_only", "text"),
    [
        (Stage.RESTORING, False, "the disks are being written"),
        (Stage.RESTORING, True, "the restore point is being read"),
        (Stage.VERIFYING, False, "the targets are being read back and compared"),
        (Stage.CANCELLING, False, "the worker removes its unfinished images"),
        (Stage.STARTING, False, "the worker gets ready"),
    ],
)
def test_each_stage_is_said(stage: Stage, verify_only: bool, text: str) -> None:
    assert message_of(report(stage=stage), verify_only=verify_only) == text
