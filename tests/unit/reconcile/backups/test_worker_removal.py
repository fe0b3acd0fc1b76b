"""What a Backup that is over is held by."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import ready_status

from sendense_operator.api.v1alpha1 import names
from sendense_operator.reconcile.backups.backup_status import ObservedBackup
from sendense_operator.reconcile.backups.worker_removal import decide_finalizers

RAN: Obj = {"workerJob": "b1-bkp-1"}
DIED: Obj = {**RAN, "workerDeath": "OOMKilled, exit code 137"}


@pytest.mark.parametrize(
    ("phase", "reason", "status", "may_have_a_point"),
    [
        ("Completed", "Committed", RAN, True),
        ("Lost", "Lost", RAN, True),
        ("Failed", "WritesLost", RAN, False),
        ("Failed", "NodeLost", RAN, True),
        ("Failed", "ActiveDeadlineExceeded", RAN, True),
        ("Failed", "StartDeadlineExceeded", RAN, False),
        ("Failed", "StartDeadlineExceeded", {}, False),
        ("Failed", "StorageError", DIED, True),
        ("Failed", "StartDeadlineExceeded", DIED, True),
        ("Cancelled", "Cancelled", RAN, True),
        ("Cancelled", "Cancelled", {}, False),
        ("Cancelled", "Cancelled", DIED, True),
    ],
)
def test_who_may_have_committed_is_held_for_its_files(
    phase: str, reason: str, status: Obj, may_have_a_point: bool
) -> None:
    reported = {**ready_status(reason, status="False"), "phase": phase, **status}
    add, remove = decide_finalizers(ObservedBackup.of(sample.backup("b1", reported)))
    assert names.FINALIZER in remove
    assert (names.FINALIZER_RESTORE_POINT in remove) is not may_have_a_point
    assert not add or may_have_a_point
