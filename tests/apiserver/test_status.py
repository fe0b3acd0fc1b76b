"""Spec and status are written apart; a status is checked too."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.support import manifests
from tests.support.kube import ApiError, Kube

CONDITION = {
    "type": "Ready",
    "status": "True",
    "reason": "Completed",
    "message": "",
    "lastTransitionTime": "2025-10-05T12:00:00Z",
}


@pytest.fixture
def backup(settled: Callable[..., str], namespace: str) -> str:
    return settled("one", namespace)


def test_a_user_cannot_create_with_a_status(kube: Kube, namespace: str) -> None:
    manifest = {**manifests.backup("one", namespace), "status": {"phase": "Completed"}}
    assert "status" not in kube.create(manifest)


def test_a_write_to_the_object_leaves_the_status_alone(kube: Kube, namespace: str, backup: str) -> None:
    before = kube.get("Backup", backup, namespace).get("status")
    written = kube.merge("Backup", backup, namespace, {"status": {"phase": "Completed"}})
    assert written.get("status") == before


def test_a_write_to_the_status_leaves_the_spec_and_the_generation_alone(
    kube: Kube, namespace: str, backup: str
) -> None:
    before = kube.get("Backup", backup, namespace)
    patch = {"spec": {"cancel": False}, "status": {"phase": "Failed"}}
    after = kube.merge("Backup", backup, namespace, patch, sub="status")
    assert after["status"]["phase"] == "Failed"
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ({"phase": "Done"}, "status.phase"),
        ({"stage": "Waiting"}, "status.stage"),
        ({"progress": {"percent": 101}}, "status.progress.percent"),
        ({"progress": {"bytesTransferred": -1}}, "status.progress.bytesTransferred"),
        ({"message": "x" * 257}, "status.message"),
        ({"disks": [{"id": 64, "key": 2000, "virtualSize": 1}]}, "status.disks[0].id"),
        ({"disks": [{"id": 0, "key": 2000, "virtualSize": -1}]}, "status.disks[0].virtualSize"),
        ({"disks": [{"id": n, "key": n, "virtualSize": 1} for n in [*range(64), 0]]}, "status.disks"),
        ({"conditions": [{**CONDITION, "status": "Maybe"}]}, "status.conditions[0].status"),
        ({"conditions": [{**CONDITION, "reason": "no good"}]}, "status.conditions[0].reason"),
        ({"type": "Mixed"}, "status.type"),
        ({"disks": [{"id": 0, "key": 2000, "virtualSize": 1, "depth": 0}]}, "status.disks[0].depth"),
        ({"disks": [{"id": 0, "key": 2000, "virtualSize": 1, "parent": "../x"}]}, "status.disks[0].parent"),
        ({"conditions": [CONDITION, CONDITION]}, "status.conditions[1]"),
    ],
)
def test_a_bad_status_is_refused(kube: Kube, namespace: str, backup: str, status: dict[str, Any], field: str) -> None:
    with pytest.raises(ApiError) as refused:
        kube.merge("Backup", backup, namespace, {"status": status}, sub="status")
    assert refused.value.code == 422
    assert field in refused.value.message


def test_64_disks_with_long_names_fit_into_a_status(kube: Kube, namespace: str, backup: str) -> None:
    disk = {"key": 2000, "virtualSize": (1 << 53) - 1, "file": "f" * 1024, "changeID": "c" * 1024}
    status = {"disks": [{"id": number, **disk} for number in range(64)]}
    assert len(kube.merge("Backup", backup, namespace, {"status": status}, sub="status")["status"]["disks"]) == 64


def test_the_largest_chain_fits_with_all_that_the_api_server_adds(kube: Kube, namespace: str) -> None:
    """1,000 restore points and as many that wait to be freed, all with the longest names: far below 1 MiB."""
    kube.create(manifests.backup_chain("large", namespace))
    names = [f"{number:063}" for number in range(1000)]
    time = "2025-10-05T12:00:00Z"
    big = (1 << 53) - 1
    point = {"time": time, "type": "Incremental", "depth": 1000, "storedBytes": big, "guestBytes": big}
    point |= {"state": "Available"}
    gone = {"uid": "0a000000-0000-4000-8000-000000000000", "state": "Needed", "storedBytes": big, "since": time}
    status = {
        "restorePoints": [{"backup": name, "full": name, **point} for name in names],
        "removed": [{"backup": name, "neededBy": name, "full": name, **gone} for name in names],
    }
    written = kube.merge("BackupChain", "large", namespace, {"status": status}, sub="status")
    assert len(written["status"]["restorePoints"]) == len(written["status"]["removed"]) == 1000
    managed = json.dumps(written["metadata"]["managedFields"])
    assert "f:restorePoints" in managed
    assert len(managed) < 4096, "atomic lists: one owner each"
    assert len(json.dumps(written)) < 800 << 10


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ({"removed": [{"backup": "b", "uid": "u", "since": "2025-10-05T12:00:00Z", "state": "Gone"}]}, "state"),
        ({"restorePoints": [{"backup": "b", "time": "2025-10-05T12:00:00Z", "type": "Auto"}]}, "type"),
        ({"next": {"type": "Auto"}}, "status.next.type"),
    ],
)
def test_a_bad_status_of_a_chain_is_refused(kube: Kube, namespace: str, status: dict[str, Any], field: str) -> None:
    kube.create(manifests.backup_chain("one", namespace))
    with pytest.raises(ApiError) as refused:
        kube.merge("BackupChain", "one", namespace, {"status": status}, sub="status")
    assert refused.value.code == 422
    assert field in refused.value.message
