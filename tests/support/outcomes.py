"""What must be left standing after a fault: a proven restore point, or nothing and a reason."""

from __future__ import annotations

from typing import Any

from tests.support import images
from tests.support.objects import find_condition
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

PATIENCE = 180
"""Seconds: a retry waits 10 s, a clock of the appliance up to 20 s, and the machine may be busy."""


def completed(space: Workspace, name: str = "backup", *, timeout: float = PATIENCE) -> dict[str, Any]:
    """Return its status, once it is Completed, proven identical, with its manifest and without anything unfinished."""
    status = space.wait_phase("Completed", name, timeout=timeout)
    images.assert_identical(space, name)
    folder = space.folders["repo"]
    assert (folder.path / status["manifest"]).is_file()
    assert folder.partials() == []
    return status


def completed_with_one_start(space: Workspace) -> dict[str, Any]:
    """As `completed`; whatever happened on the way, the VMA was requested once to start, and started one client."""
    status = completed(space)
    assert [entry["body"]["job_id"] for entry in space.vma.starts()] == [status["jobID"]]
    assert len(space.vma.events("job_started")) == 1
    return status


def completed_by_the_second_attempt(space: Workspace) -> dict[str, Any]:
    """As `completed`; the attempt before shares neither job id nor export names with it."""
    status = completed(space)
    assert status["attempts"] == 2
    first, second = [entry["body"] for entry in space.vma.starts()]
    assert first["job_id"] != second["job_id"] == status["jobID"]
    assert exports_of(first).isdisjoint(exports_of(second))
    # An evicted pod is replaced without a retry.
    assert ("Retrying" if space.get()["spec"]["retries"] else "Recovering") in space.events()
    return status


def exports_of(start: dict[str, Any]) -> set[str]:
    """Export names in the body of a start call."""
    return {target.rpartition("/")[2] for target in start["nbd_targets"].split(",")}


def failed(space: Workspace, *reasons: str, name: str = "backup", timeout: float = PATIENCE) -> str:
    """Return the message of the end, once it is Failed for one of the reasons and nothing of it is left."""
    status = space.wait_phase("Failed", name, timeout=timeout)
    stalled = find_condition(status, "Stalled")
    assert stalled["reason"] in reasons, stalled
    assert "manifest" not in status
    folder = space.folders["repo"]
    wait_for("its partials gone", lambda: until(not folder.partials(), folder.files()), timeout=60)
    assert folder.layers() == []
    assert folder.manifests() == []
    return str(stalled["message"])
