"""What it means that a VM is not where it should be, or that vCenter refuses."""

from __future__ import annotations

import pytest

from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.vcenter.vm_lookup import (
    Moved,
    VMQuery,
    check_disks,
    decide_missing,
    decide_refusal,
    decide_trouble,
    is_the_one,
)
from sendense_operator.vma.errors import VMAError, VMAGarbage, VMARefused, VMAUnreachable
from sendense_operator.vma.messages import InventoryDisk, InventoryVM

UUID = "4210c0de-0000-4000-8000-00000000000a"
OTHER = "4210c0de-0000-4000-8000-00000000000b"


def wanted(uuid: str | None = None, *, followed: bool = False, pinned: str | None = None) -> VMQuery:
    full = {"applianceRef": {"name": "vma"}, "path": "/DC1/vm/db", "uuid": pinned}
    return VMQuery(ProtectedVMSpec.model_validate(full), uuid, followed)


def vm(path: str = "/DC1/vm/db", uuid: str = UUID, *keys: str) -> InventoryVM:
    disks = tuple(InventoryDisk(id=key, capacity_bytes=512) for key in keys)
    return InventoryVM(id=uuid, name="db", path=path, disks=disks)


@pytest.mark.parametrize(
    ("pinned", "found", "same"),
    [(None, UUID, True), (UUID, UUID, True), (UUID.upper(), UUID, True), (UUID, OTHER, False), (UUID, "", True)],
)
def test_whether_the_vm_at_the_path_is_the_one(pinned: str | None, found: str, same: bool) -> None:
    assert is_the_one(wanted(pinned=pinned), vm(uuid=found)) is same
    assert is_the_one(wanted(UUID), vm(uuid=found)) is True


@pytest.mark.parametrize(
    ("uuid", "vms", "reason", "words"),
    [
        (None, [], "VMNotFound", "there is no VM at '/DC1/vm/db'"),
        (None, [vm("/DC1/vm/x")], "VMNotFound", "no VM"),
        (UUID, [], "VMVanished", "any more"),
        (UUID, [vm("/DC1/vm/x", OTHER)], "VMVanished", UUID),
        (UUID, [vm("/DC1/vm/x")], "VMMoved", "'/DC1/vm/x' now: change spec.path"),
        (UUID, [vm("/DC1/vm/x"), vm("/DC1/vm/y")], "VMVanished", "(2) none is known to be it"),
    ],
)
def test_nothing_is_at_the_path(uuid: str | None, vms: list[InventoryVM], reason: str, words: str) -> None:
    problem = decide_missing(wanted(uuid), None, vms)
    assert (problem.reason, problem.meaning) == (reason, Meaning.FINAL)
    assert words in problem.message


def test_another_vm_is_at_the_path() -> None:
    there = vm(uuid=OTHER)
    assert decide_missing(wanted(UUID), there, [there]).reason == "VMReplaced"
    assert decide_missing(wanted(UUID), there, [there, vm("/DC1/vm/x")]).reason == "VMMoved"


def test_a_followed_one_waits_for_discovery() -> None:
    problem = decide_missing(wanted(UUID, followed=True), None, [vm("/DC1/vm/x")])
    assert problem.meaning is Meaning.WAIT
    assert isinstance(problem, Moved)
    assert problem.path == "/DC1/vm/x"


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (["disk-2000", "disk-2001"], None),
        ([], "NoDisks"),
        (["disk-2000"] * 2, "ApplianceError"),
        ([f"disk-{number}" for number in range(65)], "TooManyDisks"),
    ],
)
def test_disks(keys: list[str], reason: str | None) -> None:
    problem = check_disks(vm("/DC1/vm/db", UUID, *keys))
    assert (problem.reason if problem else None) == reason


@pytest.mark.parametrize(
    ("text", "reason", "meaning"),
    [
        ("Cannot complete login due to an incorrect user name or password.", "VCenterRefused", Meaning.FINAL),
        ("dial tcp 10.0.0.1:443: connect: connection refused", "VCenterUnreachable", Meaning.WAIT),
        ("Internal server error", "ApplianceError", Meaning.RETRY),
    ],
)
def test_refusals(text: str, reason: str, meaning: Meaning) -> None:
    problem: Problem = decide_refusal(VMARefused("discover", 500, text), "/DC1/vm/db")
    assert (problem.reason, problem.meaning) == (reason, meaning)
    assert text in problem.message


@pytest.mark.parametrize(
    ("error", "reason", "meaning"),
    [
        (VMAUnreachable("no answer"), "ApplianceUnreachable", Meaning.RETRY),
        (VMAGarbage("cbt-status: enabled: Field required"), "ApplianceError", Meaning.RETRY),
        (VMARefused("cbt-status", 404, "404 page not found"), "ApplianceError", Meaning.RETRY),
        (VMARefused("cbt-status", 500, "vm '/DC1/vm/db' not found"), "VCenterRefused", Meaning.FINAL),
    ],
)
def test_a_call_that_told_nothing(error: VMAError, reason: str, meaning: Meaning) -> None:
    problem = decide_trouble(error, "http://vma:8081", "/DC1/vm/db")
    assert (problem.reason, problem.meaning) == (reason, meaning)
    assert str(getattr(error, "text", error)) in problem.message
