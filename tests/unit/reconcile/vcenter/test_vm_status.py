"""A ProtectedVM's status by what vCenter said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from tests.support.sample import GIB, at

from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMStatus, VMDisk
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.state.vm_records import FoundVM
from sendense_operator.reconcile.vcenter.vm_status import CHANGE_TRACKING, next_vm_status
from sendense_operator.vma.messages import InventoryVM

UUID = "4210c0de-0000-4000-8000-00000000000a"
HOURS = 3600


def found(name: str = "db", *, cbt: bool | None = True) -> FoundVM:
    disks = (VMDisk(index=0, key=2016, virtual_size=GIB), VMDisk(index=1, key=2000, virtual_size=GIB))
    return FoundVM(InventoryVM(id=UUID, name=name, path="/DC1/vm/db"), disks, cbt)


def after(result: FoundVM | Problem, seconds: float = 0, old: ProtectedVMStatus | None = None, **more: Any) -> Any:
    now: datetime = at(seconds)
    return next_vm_status(old or ProtectedVMStatus(), result, generation=1, now=now, **{"asked": now, **more})


def reported(status: ProtectedVMStatus, kind: str = "Ready") -> tuple[str, str]:
    return next(((c.status.value, c.reason) for c in status.conditions if c.type == kind), ("", ""))


def test_what_is_known_of_a_vm() -> None:
    status = after(found())
    assert (status.vm_name, status.uuid, status.size, status.total_bytes) == ("db", UUID, "2.0 GiB", 2 * GIB)
    assert [(disk.index, disk.key) for disk in status.disks] == [(0, 2016), (1, 2000)]
    assert reported(status) == ("True", "Discovered")


@pytest.mark.parametrize(
    ("cbt", "expected"), [(True, ("True", "Enabled")), (False, ("False", "Disabled")), (None, ("Unknown", "NotKnown"))]
)
def test_change_tracking(cbt: bool | None, expected: tuple[str, str]) -> None:
    status = after(found(cbt=cbt))
    assert (reported(status, CHANGE_TRACKING), status.cbt_enabled) == (expected, cbt)


@pytest.mark.parametrize("reason", ["VMVanished", "VMReplaced"])
def test_a_vm_that_is_gone_is_marked_once_and_what_was_known_stays(reason: str) -> None:
    gone = after(Problem(reason, "gone", Meaning.FINAL), 60, after(found()))
    assert (gone.vanished_time, gone.vm_name, len(gone.disks)) == (at(60), "db", 2)
    assert reported(gone) == ("False", reason)
    assert reported(gone, "Stalled") == ("True", reason)
    assert reported(gone, CHANGE_TRACKING) == ("True", "Enabled")
    assert after(Problem(reason, "gone", Meaning.FINAL), 120, gone).vanished_time == at(60)
    back = after(found(), 180, gone)
    assert back.vanished_time is None
    assert reported(back, "Stalled") == ("", "")


def test_a_vm_that_cannot_be_requested_is_not_gone() -> None:
    status = after(Problem("VCenterUnreachable", "down", Meaning.FINAL), 60, after(found()), asked=None)
    assert (status.vanished_time, status.uuid, status.last_discovery_time) == (None, UUID, at(0))


def test_one_that_was_never_found_has_no_uuid() -> None:
    assert after(Problem("VMNotFound", "no", Meaning.FINAL), 60, after(found())).uuid is None


@pytest.mark.parametrize(
    ("seconds", "shared", "name", "written"),
    [
        (HOURS, False, "db", True),
        (HOURS, True, "db", False),
        (HOURS, True, "renamed", True),
        (7 * HOURS, True, "db", True),
    ],
)
def test_when_the_time_of_the_last_look_is_renewed(seconds: float, shared: bool, name: str, written: bool) -> None:
    before = after(found(), shared=True)
    assert before.last_discovery_time == at(0)
    status = after(found(name), seconds, before, shared=shared)
    assert status.last_discovery_time == at(seconds if written else 0)
    assert (status == before) is not written
