"""Whose turn it is, from the objects that are there."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import ready_status, stamp

from sendense_operator.reconcile.backups.start_queue import QUEUED, is_queued


def waiting(reason: str = "WaitingForSlot", **spec: object) -> Obj:
    status = {"phase": "Pending", **ready_status(reason, status="False")}
    return sample.backup("b1", status, **spec)  # type: ignore[arg-type]


def deleting(obj: Obj) -> Obj:
    return {**obj, "metadata": {**obj["metadata"], "deletionTimestamp": stamp()}}


@pytest.mark.parametrize(
    ("backup", "queued"),
    [
        *((waiting(reason), True) for reason in sorted(QUEUED)),
        (waiting("VMNotFound"), False),
        (waiting("PortRangeTooSmall"), False),
        (waiting(cancel=True), False),
        (deleting(waiting()), False),
        (sample.backup(), False),
    ],
)
def test_who_is_in_the_queue(backup: Obj, queued: bool) -> None:
    assert is_queued(backup) is queued
