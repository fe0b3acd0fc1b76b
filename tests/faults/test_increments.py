"""The VMA fails in the middle of an increment: the last restore point stays, and the next attempt begins anew."""

from __future__ import annotations

import pytest
from tests.support.objects import Obj, find_condition
from tests.support.outcomes import PATIENCE, exports_of
from tests.support.points import History
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

TWO = (Disk("random", 12 * MIB), Disk("pattern", 6 * MIB))
QUICK = {"timeouts": {"reconnectSeconds": 10, "stallSeconds": 12}}
"""For clients that stop in their copy."""
MODES = {"die": "ConnectionLost", "deadlock": "Stalled"}
"""What an attempt whose client does that fails with."""


@pytest.fixture
def chain(space: Workspace, history: History) -> History:
    """A full, and changes of both disks for an increment."""
    space.ready(*TWO, appliance=QUICK)
    history.backup("full")
    space.vma.write("vm", key=2000, ranges=[[0, 4 * MIB]], seed=1)
    space.vma.write("vm", key=2001, ranges=[[MIB, MIB]], seed=1)
    return history


def struck(history: History, mode: str) -> None:
    """The next client does that after 2 MiB of its first disk's changes; slowly, so that its writes are seen."""
    history.space.vma.fault("client", "rate", bytes_per_second=MIB)
    history.space.vma.fault("client", mode, bytes=2 * MIB)


def is_an_increment(history: History, status: Obj) -> None:
    """On the full; both points are what they were, and no file is too many."""
    space, folder = history.space, history.space.folders["repo"]
    assert {(disk["type"], disk["parent"]) for disk in status["disks"]} == {("Incremental", "full")}
    history.assert_identical("full", "incr")
    assert folder.partials() == []
    assert folder.orphans() == []
    assert {point["backup"]["name"] for point in folder.manifests()} == {"full", "incr"}
    assert len(space.vma.starts()) == 3


@pytest.mark.parametrize("mode", MODES)
def test_with_another_attempt(chain: History, mode: str) -> None:
    """From a fresh partial. A client that hangs is counted while its telemetry comes."""
    space = chain.space
    struck(chain, mode)
    chain.start("incr", type="Incremental", retries=1)
    status = space.wait_phase("Completed", "incr", timeout=PATIENCE)
    assert status["attempts"] == 2
    is_an_increment(chain, status)
    _, first, second = [entry["body"] for entry in space.vma.starts()]
    assert second["job_id"] == status["jobID"] != first["job_id"]
    assert exports_of(first).isdisjoint(exports_of(second))
    (why,) = [message for _, reason, message in space.story("incr") if reason == "Retrying"]
    assert f"attempt 2: {MODES[mode]}: " in why
    stuck = [first["job_id"]] if mode == "deadlock" else []
    wait_for("the stuck client to be reported", lambda: _tells_of_stuck(space, stuck), timeout=90)


def _tells_of_stuck(space: Workspace, jobs: list[str]) -> None:
    status = space.status("vma", "VMwareAppliance")
    until((status.get("stuckJobs", []), status.get("stuckClients", 0)) == (jobs, len(jobs)), status)


def test_without_another_attempt(chain: History) -> None:
    """Failed, and not a file is another one than before."""
    space, folder = chain.space, chain.space.folders["repo"]
    before = folder.files()
    struck(chain, "die")
    space.backup("bad", type="Incremental")
    status = space.wait_phase("Failed", "bad", timeout=PATIENCE)
    assert find_condition(status, "Stalled")["reason"] == MODES["die"]
    assert folder.files() == before
    chain.assert_identical("full")
    is_an_increment(chain, chain.increment("incr"))
