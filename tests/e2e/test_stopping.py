"""Stopping a backup: cancelled, deleted, or its namespace deleted, while it runs. Nothing is left of it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.support import images
from tests.support.namespaces import wait_gone
from tests.support.objects import find_condition
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace


@pytest.fixture
def running(space: Workspace) -> Workspace:
    """A workspace with a backup in the middle of its copy, which would go on for minutes."""
    space.ready(Disk("random", 64 * MIB), Disk("random", 8 * MIB), appliance={"nbd": {"exposure": "NodePort"}})
    space.vma.fault("client", "rate", bytes_per_second=256 * 1024)
    space.backup()
    space.wait_copying()
    assert space.folders["repo"].partials()
    return space


def _nothing_left(space: Workspace) -> None:
    folder = space.folders["repo"]
    assert folder.partials() == []
    assert folder.layers() == []
    assert folder.manifests() == []
    wait_for("the VMA's client gone", lambda: _no_client(space))
    assert len(space.vma.events("snapshot_removed")) == 1, "the client ended as it should: its snapshot is gone"
    wait_for("its objects gone", lambda: _no_objects(space))


def _no_client(space: Workspace) -> None:
    alive = [job for job in space.vma.jobs() if job["alive"]]
    until(not alive, alive)


def _no_objects(space: Workspace) -> None:
    left = [obj["metadata"]["name"] for kind in ("Job", "Service", "NetworkPolicy") for obj in _ours(space, kind)]
    until(not left, left)


def _ours(space: Workspace, kind: str) -> list[dict[str, Any]]:
    return space.kube.select(kind, space.namespace, labels="backup.sendense.io/backup=backup")


def test_deleted_while_it_runs(running: Workspace) -> None:
    began = time.monotonic()
    running.delete_and_wait(timeout=60)
    assert time.monotonic() - began < 60
    _nothing_left(running)
    wait_for("its workers gone", lambda: until(not running.workers(), running.workers()))


def test_a_deleted_backup_makes_room_for_the_next(running: Workspace) -> None:
    running.kube.delete("Backup", "backup", running.namespace)
    running.vma.clear_faults()
    running.backup("next")
    running.wait_phase("Completed", "next")
    images.assert_identical(running, "next")
    assert running.kube.find("Backup", "backup", running.namespace) is None
    assert not running.vma.events("snapshot_deleted_under_job")


def test_cancelled_while_it_runs(running: Workspace) -> None:
    running.kube.merge("Backup", "backup", running.namespace, {"spec": {"cancel": True}})
    status = running.wait_phase("Cancelled", timeout=60)
    assert find_condition(status, "Stalled")["reason"] == "Cancelled"
    assert status["progress"]["percent"] < 100
    assert "manifest" not in status
    wait_for("its workers gone", lambda: until(not running.workers(), running.workers()))
    folder = running.folders["repo"]
    assert folder.partials() == []
    assert folder.layers() == []
    wait_for("the VMA's client gone", lambda: _no_client(running))
    assert len(running.vma.starts()) == 1, "a cancelled backup is not tried again"


def test_its_namespace_is_deleted(running: Workspace) -> None:
    running.kube.delete("Namespace", running.namespace)
    wait_gone(running.kube, "Namespace", running.namespace, timeout=90)
    folder = running.folders["repo"]
    assert folder.partials() == []
    assert folder.manifests() == []
    wait_for("the VMA's client gone", lambda: _no_client(running))


def test_deleting_a_completed_backup_is_quick_and_keeps_the_rest(space: Workspace) -> None:
    space.ready(Disk("pattern", 4 * MIB))
    for name in ("first", "second"):
        space.backup(name)
        space.wait_phase("Completed", name)
    space.delete_and_wait("first")
    images.assert_identical(space, "second")


def test_deleting_while_the_appliance_is_gone(running: Workspace) -> None:
    running.vma.fault("health", "no-answer", count=0)
    running.vma.fault("progress", "no-answer", count=0)
    running.kube.delete("VMwareAppliance", "vma", running.namespace)
    running.delete_and_wait(timeout=60)


def test_a_second_backup_of_the_same_name_keeps_the_first_restore_point(space: Workspace) -> None:
    space.ready(Disk("pattern", 4 * MIB))
    for _ in range(2):
        space.backup("daily", deletionPolicy="Retain")
        space.wait_phase("Completed", "daily")
        images.assert_identical(space, "daily")
        space.delete_and_wait("daily")
    points = [point["backup"] for point in space.folders["repo"].manifests()]
    assert [point["name"] for point in points] == ["daily", "daily"]
    assert len({point["uid"] for point in points}) == 2
