"""What one attempt answers besides a backup: what an earlier one left, and what became of the VMA's job."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support import chains
from tests.support.interruptions import CutShort
from tests.unit.worker.storage import test_commit as commits
from tests.unit.worker.support import UID, settings, task

from sendense_operator.answer import Answer
from sendense_operator.api.v1alpha1.names import vma_job_id
from sendense_operator.chain import layout
from sendense_operator.chain.parent_choice import LayerPlan, ParentLayer
from sendense_operator.task import BackupTask, Clocks, ExitCode, FullReason
from sendense_operator.vma.callback_rules import DiskPlan
from sendense_operator.vma.credentials import Credentials
from sendense_operator.vma.vma_client import VMAClient
from sendense_operator.worker import main
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images.nbd_connections import Connection
from sendense_operator.worker.storage.chain_folder import ChainFolder, read_chain
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.commit import no_step
from sendense_operator.worker.storage.repository_marker import init_repository
from sendense_operator.worker.vma_job import attempt as attempts
from sendense_operator.worker.vma_job import backup_run
from sendense_operator.worker.vma_job.attempt import Attempt
from sendense_operator.worker.vma_job.attempt_state import JobState
from sendense_operator.worker.vma_job.parent_proof import Parents


async def answered(root: Path, one: BackupTask) -> tuple[int, Answer]:
    where = settings(
        task_file=root.parent / "task.json",
        termination_file=root.parent / "answer",
        credentials_dir=root.parent / "none",
        repository=root,
        status_port=0,
    )
    where.task_file.write_text(one.model_dump_json(by_alias=True))
    code = await main.run(where)
    return code, Answer.from_message(where.termination_file.read_text())


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository; nobody may call a VMA."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a VMA is called")

    monkeypatch.setattr(VMAClient, "__init__", refuse)
    root = tmp_path / "repository"
    root.mkdir()
    init_repository(root, "r", None)
    return root


@pytest.mark.parametrize("stop_at", [None, *range(1, commits.STEPS)])
async def test_one_that_only_adopts_finds_what_was_committed_or_nearly(root: Path, stop_at: int | None) -> None:
    manifest = commits.make(root)
    if stop_at is None:
        commits.run(root, manifest)
    else:
        with pytest.raises(CutShort):
            commits.run(root, manifest, stop_at)
    code, answer = await answered(root, task(adopt_only=True))
    assert (code, answer.outcome, answer.adopted) == (ExitCode.COMPLETED, "Completed", True)
    assert answer.manifest == "shop/db/backups/nightly.json"
    assert commits.files(root) == {layout.MARKER, *commits.committed(manifest)}


@pytest.mark.parametrize("there", ["nothing", "partials", "another"])
async def test_one_that_only_adopts_makes_no_backup(root: Path, there: str) -> None:
    kept = {layout.MARKER}
    if there == "partials":
        commits.make(root)
    if there == "another":
        other = commits.make(root, commits.OTHER)
        commits.run(root, other)
        kept |= commits.committed(other)
    code, answer = await answered(root, task(adopt_only=True))
    assert (code, answer.outcome, answer.reason) == (ExitCode.FATAL, "Failed", Reason.WORKER_DIED)
    assert answer.message
    assert commits.files(root) == kept


class Exports:
    """Stands for the exports of an attempt."""

    def __init__(self, *_: object) -> None: ...

    async def kill(self) -> None: ...

    def remove_partials(self) -> None: ...


class Running:
    """Stands for a supervisor whose VMA job may have a client."""

    may_run = True


def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: JobState, one: BackupTask) -> Attempt:
    monkeypatch.setattr(attempts, "ExportSet", Exports)
    lock = ChainLock.try_acquire(tmp_path / commits.PATHS.lock, tmp_path, UID)
    assert lock is not None
    parents = Parents(tmp_path, commits.PATHS, one, ChainFolder(commits.PATHS), lock)
    attempt = Attempt(settings(repository=tmp_path), one, state, tmp_path, commits.PATHS, lock, parents)
    attempt._supervisor = Running()  # type: ignore[assignment]
    return attempt


@pytest.mark.parametrize("fenced", [True, False])
def test_one_that_lost_its_lock_frees_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fenced: bool) -> None:
    one = task()
    attempt = begun(tmp_path, monkeypatch, JobState(one, settings()), one)
    removed = chains.point(1)
    place = chains.write_point(tmp_path, removed)
    grave = tmp_path / chains.PATHS.tombstone("b1", removed.backup.uid)
    grave.parent.mkdir()
    (tmp_path / place).rename(grave)
    if fenced:
        (tmp_path / chains.PATHS.folder / ".owner").write_text('{"podUID": "another"}')
    attempt._free()
    assert (tmp_path / removed.disks[0].file).exists() is fenced


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("reason", [FullReason.CBT_RESET, Reason.INCREMENT_REFUSED, Reason.STORAGE_ERROR])
def test_a_refused_change_id_is_marked_whatever_was_completed_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int, reason: str
) -> None:
    """The completion calls of all disks arrived between the failure and this: it is no disk's turn any more."""
    full = chains.point(1, [chains.layer(1, number) for number in range(2)])
    chains.write_point(tmp_path, full)
    parents = [ParentLayer(full, disk, ()) for disk in full.disks]
    one = task()
    state = JobState(one, settings())
    state.plan([DiskPlan(parent.disk.index, parent.disk.change_id) for parent in parents])
    attempt = begun(tmp_path, monkeypatch, state, one)
    attempt._parents = Parents(tmp_path, chains.PATHS, one, read_chain(tmp_path, chains.PATHS), attempt._lock)
    for disk in one.disks:
        now = 10.0 * (disk.index + 1)
        state.callbacks.answer_change_id("pgtest1", "0", now)
        body = json.dumps({"disk_id": disk.index, "change_id": f"other-{disk.index}/1"}).encode()
        assert state.callbacks.complete(state.job_id, body, now + 2, now + 1).status == 200
    assert state.callbacks.current_disk is None
    folder = chains.PATHS.folder
    plans = [LayerPlan(disk, folder, parent) for disk, parent in zip(one.disks, parents, strict=True)]
    attempt._note_refusal(WorkerError(reason, "why", index), plans)
    attempt.close()
    marked = [(mark.index, mark.reason) for mark in read_chain(tmp_path, chains.PATHS).points[0].unfit]
    why = FullReason.CHANGE_ID_REFUSED if reason == Reason.INCREMENT_REFUSED else FullReason.CBT_RESET
    assert marked == ([] if reason == Reason.STORAGE_ERROR else [(index, why)])


@pytest.mark.parametrize("tells", [True, False])
async def test_a_client_that_never_ends_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tells: bool
) -> None:
    one = task(clocks=Clocks(cancel=0.3))
    state = JobState(one, settings())
    attempt = begun(tmp_path, monkeypatch, state, one)

    async def telemetry() -> None:
        while True:
            state.callbacks.telemetry(state.job_id, b"{}", time.monotonic())
            await asyncio.sleep(0.02)

    # It was on the export: else it can't hang there.
    state.traffic.add_sample(time.monotonic(), [Connection(state.port(0), 1, True, 86)], {})
    state.callbacks.telemetry(state.job_id, b"{}", time.monotonic())
    client = asyncio.create_task(telemetry() if tells else asyncio.sleep(0))
    await attempt.abandon()
    client.cancel()
    attempt.close()
    assert state.stuck_client is tells


async def test_a_term_does_not_cut_the_cancelling_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exports are closed and its partials removed all the same."""
    closing, may_close, done = asyncio.Event(), asyncio.Event(), list[str]()

    class Abandoned:
        async def plan(self) -> None:
            raise WorkerError("Stalled", "no data")

        async def abandon(self, _: BaseException) -> None:
            closing.set()
            await may_close.wait()
            done.append("abandoned")

        def close(self) -> None:
            done.append("closed")

    async def found(*_: object) -> None: ...

    monkeypatch.setattr(backup_run, "preflight", found)
    one = task()
    attempt: Any = Abandoned()
    state = JobState(one, settings())
    credentials = Credentials("user", "password")
    work = asyncio.create_task(backup_run._attempt(attempt, settings(), one, state, credentials, no_step))
    await closing.wait()
    work.cancel()
    may_close.set()
    with pytest.raises(WorkerError, match="Stalled"):
        await work
    assert done == ["abandoned", "closed"]


def test_callers_before_the_start_count_for_nothing() -> None:
    """A client of an earlier job may ask while this one opens its exports."""
    state = JobState(task(), settings())
    state.plan([DiskPlan(0, "52 01/4"), DiskPlan(1)])
    assert state.callbacks.answer_change_id("pgtest1", "0", 1.0).status == 200
    state.traffic.add_sample(1.0, [Connection(state.port(0), 1, True, 86)], {})
    state.reset_observations()
    assert (state.callbacks.requests(0), state.callbacks.first_request, state.traffic.connected) == (0, None, False)
    assert state.callbacks.answer_change_id("pgtest1", "0", 2.0).body["change_id"] == "52 01/4"


@pytest.mark.parametrize("stuck", [True, False])
@pytest.mark.parametrize(
    ("end", "outcome", "reason"),
    [
        (WorkerError("Stalled", "no data"), "Failed", "Stalled"),
        (ZeroDivisionError(), "Failed", Reason.INTERNAL_ERROR),
        (None, "Cancelled", Reason.TERMINATED),
    ],
)
async def test_each_bad_end_tells_of_the_vmas_job(
    root: Path, monkeypatch: pytest.MonkeyPatch, end: Exception | None, outcome: str, reason: str, stuck: bool
) -> None:
    async def ends(_settings: object, _task: object, state: JobState, _on_step: object) -> Answer:
        try:
            if end is not None:
                raise end
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
            raise AssertionError
        finally:
            state.stuck_client = stuck

    monkeypatch.setattr(main, "run_backup", ends)
    code, answer = await answered(root, task())
    assert (code, answer.outcome, answer.reason) == (ExitCode.RETRY, outcome, reason)
    assert (answer.job_id, answer.stuck_client) == (vma_job_id(UID), stuck)
    assert answer.finished is not None
