"""Which claims may receive disks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support import sample

from sendense_operator.api.v1alpha1.restore import ChosenPoint, RestoredDiskStatus
from sendense_operator.api.v1alpha1.restore_target import RestoreTarget
from sendense_operator.reconcile.restores.restore_targets import assign_claims, decide_claim
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.workload.claims import Claim

GIB = sample.GIB
POINT = ChosenPoint(
    backup_name="b1", uid="u", vm_name="db", repository_name="store", time=datetime(2026, 1, 1, tzinfo=UTC)
)
DISK = RestoredDiskStatus(index=1, virtual_size=GIB)


def target(**claims: str) -> RestoreTarget:
    listed = [{"disk": int(disk.removeprefix("d")), "claimName": name} for disk, name in claims.items()]
    return RestoreTarget.model_validate({"persistentVolumeClaims": listed})


def disks(*indexes: int) -> list[RestoredDiskStatus]:
    return [RestoredDiskStatus(index=index, virtual_size=GIB) for index in indexes]


def test_each_disk_gets_its_claim() -> None:
    assigned = assign_claims(target(d1="b", d0="a"), disks(0, 1), POINT)
    assert not isinstance(assigned, Problem)
    assert [(disk.index, disk.claim_name) for disk in assigned] == [(0, "a"), (1, "b")]


def test_without_a_target_nothing_is_assigned() -> None:
    assert assign_claims(None, disks(0, 1), POINT) == disks(0, 1)


@pytest.mark.parametrize(
    ("wanted", "indexes", "reason", "words"),
    [
        (target(d0="a"), (0, 1), "ClaimMissing", "no claim for disk 1"),
        (target(d0="a", d5="b"), (0,), "DiskNotFound", "no disk 5"),
        (target(d0="a", d1="a"), (0, 1), "ClaimShared", "claim a for more than one disk"),
    ],
)
def test_claims_that_do_not_fit(wanted: RestoreTarget, indexes: tuple[int, ...], reason: str, words: str) -> None:
    found = assign_claims(wanted, disks(*indexes), POINT)
    assert isinstance(found, Problem)
    assert (found.reason, found.meaning) == (reason, Meaning.FINAL)
    assert words in found.message


@pytest.mark.parametrize(
    ("claim", "waits_for_consumer", "reason"),
    [
        ({"size": "1Gi"}, False, None),
        ({"size": "1Gi", "phase": "Pending"}, False, "ClaimPending"),
        ({"phase": "Pending", "resources": {"requests": {"storage": "1Gi"}}}, True, None),
        ({"phase": "Pending", "resources": {"requests": {"storage": "1023Mi"}}}, True, "ClaimTooSmall"),
        ({}, False, "ClaimTooSmall"),
        ({"size": "1Gi", "volumeMode": "Filesystem"}, False, None),
        ({"size": "1Gi", "volumeMode": "Block"}, False, "ClaimUnsupported"),
        ({"size": "1Gi", "modes": ("ReadOnlyMany",)}, False, "ReadOnlyClaim"),
        ({"size": "1Gi", "modes": ("ReadWriteOncePod",)}, False, None),
        ({"size": "1Gi", "phase": "Lost"}, False, "ClaimLost"),
    ],
)
def test_a_claim(claim: dict[str, Any], waits_for_consumer: bool, reason: str | None) -> None:
    storage_class = {"volumeBindingMode": "WaitForFirstConsumer"} if waits_for_consumer else None
    found = decide_claim(Claim("data", sample.claim("data", **claim), storage_class), DISK)
    assert (found.reason if found is not None else None) == reason
    assert found is None or "data" in found.message


@pytest.mark.parametrize(
    ("claim", "reason"), [(None, "ClaimNotFound"), (sample.deleting(sample.claim("data", size="1Gi")), "ClaimDeleting")]
)
def test_a_claim_that_is_waited_for(claim: Any, reason: str) -> None:
    found = decide_claim(Claim("data", claim), DISK)
    assert found is not None
    assert (found.reason, found.meaning) == (reason, Meaning.WAIT)


def into_files(kind: str, folder: str | None = None) -> RestoreTarget:
    return RestoreTarget.model_validate({"file": {"claimName": "exports", "format": kind, "folder": folder}})


@pytest.mark.parametrize(
    ("wanted", "files"),
    [
        (into_files("QCOW2"), ["db-b1-disk-0.qcow2", "db-b1-disk-3.qcow2"]),
        (into_files("Raw", "a/b"), ["a/b/db-b1-disk-0.raw", "a/b/db-b1-disk-3.raw"]),
        (into_files("OVA", "x"), ["x/db-b1.ova", "x/db-b1.ova"]),
    ],
)
def test_all_disks_get_files_in_one_claim(wanted: RestoreTarget, files: list[str]) -> None:
    assigned = assign_claims(wanted, disks(0, 3), POINT)
    assert not isinstance(assigned, Problem)
    assert [(disk.claim_name, disk.file) for disk in assigned] == [("exports", file) for file in files]


def test_an_ova_has_room_for_sixty_disks() -> None:
    assert not isinstance(assign_claims(into_files("OVA"), disks(*range(60)), POINT), Problem)
    assert not isinstance(assign_claims(into_files("VMDK"), disks(*range(61)), POINT), Problem)
    found = assign_claims(into_files("OVA"), disks(*range(61)), POINT)
    assert isinstance(found, Problem)
    assert (found.reason, found.meaning) == ("FormatUnsupported", Meaning.FINAL)
    assert "room for 60 disks, and the restore point has 61" in found.message


def test_files_may_fit_into_a_claim_that_is_smaller_than_the_disk() -> None:
    disk = RestoredDiskStatus(index=0, virtual_size=GIB, file="db-b1.ova")
    assert decide_claim(Claim("data", sample.claim("data", size="1Mi"), None), disk) is None
    found = decide_claim(Claim("data", sample.claim("data", volumeMode="Block"), None), disk)
    assert found is not None
    assert found.reason == "ClaimUnsupported"
    missing = decide_claim(Claim("data", None, None), disk)
    assert missing is not None
    assert missing.message == "there is no PersistentVolumeClaim data, which receives files"
