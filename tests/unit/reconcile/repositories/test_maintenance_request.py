"""What a repository's pod is asked for, and when only a scan can tell what became of a Backup."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import at, ready_status, stamp

from sendense_operator.reconcile.repositories.maintenance_request import (
    first_removals,
    has_doubts,
    pending_removals,
    removed_points,
)
from sendense_operator.reconcile.state.records import RepositoryCatalogue
from sendense_operator.task import MAX_REMOVALS, Removal

SCANNED = sample.repository("store", {"catalogue": {"time": stamp(100)}})
DIED: Obj = {"workerDeath": "OOMKilled, exit code 137"}


def ended(phase: str, reason: str, *, at_second: float = 200, **status: object) -> Obj:
    reported = {**ready_status(reason, status="False"), "phase": phase, "completionTime": stamp(at_second), **status}
    return sample.backup("b1", reported)


@pytest.mark.parametrize(
    ("backup", "doubts"),
    [
        (ended("Failed", "WritesLost"), False),
        (ended("Failed", "NodeLost"), True),
        (ended("Failed", "NodeLost", at_second=50), False),
        (ended("Failed", "StorageError", **DIED), True),
        (ended("Failed", "StorageError", at_second=50, **DIED), False),
        (ended("Cancelled", "Cancelled"), False),
        (ended("Cancelled", "Cancelled", **DIED), True),
        (ended("Completed", "Committed", **DIED), False),
        (ended("Completed", "Committed", disks=[{"id": 0, "key": 1, "reason": "ParentUnverified"}]), True),
        (sample.backup("b1", {"phase": "Running", **DIED}), False),
    ],
)
def test_doubts(backup: Obj, doubts: bool) -> None:
    assert has_doubts([backup], SCANNED, None) is doubts
    assert not has_doubts([backup], sample.repository(), None), "the first scan is due anyway"
    assert not has_doubts([backup], SCANNED, RepositoryCatalogue(at(300), {})), "it was scanned a moment ago"


def chain(*removed: Obj) -> Obj:
    spec = {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}}
    status = {"points": 1, "restorePoints": "not looked at", "removed": list(removed)}
    return sample.custom("BackupChain", "db-store", spec, status)


def gone(**more: Any) -> Obj:
    return {"backup": "b1", "uid": "uid-1", "since": stamp(), **more}


@pytest.mark.parametrize(
    ("removed", "wanted"),
    [
        (gone(), True),
        (gone(state="Pending"), True),
        (gone(state="Needed"), True),
        (gone(state="Needed", neededBy="b2"), False),
        (gone(state="Retained"), False),
    ],
)
def test_what_the_repository_still_has_to_forget(removed: Obj, wanted: bool) -> None:
    removal = Removal(vm="db", backup="b1", backup_uid="uid-1")
    assert [one for one, _ in pending_removals(chain(removed))] == ([removal] if wanted else [])
    assert [point.uid for point in removed_points(chain(removed))] == ["uid-1"]


def test_a_chain_that_says_nothing_yet() -> None:
    new = sample.custom("BackupChain", "db-store", {"vmRef": {"name": "db"}})
    assert pending_removals(new) == []
    assert removed_points(new) == []


def test_layers_that_can_t_be_freed_keep_no_removal_waiting() -> None:
    stuck = [gone(uid=f"stuck-{number}", state="Needed") for number in range(MAX_REMOVALS + 1)]
    found = first_removals([*pending_removals(chain(*stuck)), *pending_removals(chain(gone(backup="b2")))])
    assert len(found) == MAX_REMOVALS
    assert [removal.backup for removal in found[:2]] == ["b2", "b1"]
