"""The worker's process: it reads its task, runs it, and ends with a termination message and an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from pydantic import ValidationError
from starlette.applications import Starlette

from sendense_operator.answer import Answer
from sendense_operator.consolidation_task import ConsolidationTask
from sendense_operator.logs import get_logger, set_backup, setup_logging
from sendense_operator.restore_task import RestoreTask
from sendense_operator.task import BackupTask, ExitCode, ProbeTask, VerificationTask
from sendense_operator.worker.consolidation.consolidation_run import run_consolidation
from sendense_operator.worker.consolidation.consolidation_state import ConsolidationState
from sendense_operator.worker.errors import Reason, WorkerError, exit_code
from sendense_operator.worker.lifecycle.http_server import common_routes, serving
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.maintenance.repository_maintenance import run_probe
from sendense_operator.worker.restore.nbd_serving import serve_point
from sendense_operator.worker.restore.receiving_run import run_receiver
from sendense_operator.worker.restore.restore_run import run_restore
from sendense_operator.worker.restore.restore_state import RestoreState
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.commit import no_step
from sendense_operator.worker.verification.run_state import VerificationState
from sendense_operator.worker.verification.verification_run import run_verification
from sendense_operator.worker.vma_job.attempt_state import JobState
from sendense_operator.worker.vma_job.backup_run import run_backup
from sendense_operator.worker.vma_job.status_server import build_app

log = get_logger(__name__)

_Task = BackupTask | ProbeTask | VerificationTask | RestoreTask | ConsolidationTask
_KINDS: Final[Mapping[str, type[_Task]]] = {
    "backup": BackupTask,
    "probe": ProbeTask,
    "verification": VerificationTask,
    "restore": RestoreTask,
    "consolidation": ConsolidationTask,
}


def main() -> int:
    """Run the pod's task and return the exit code."""
    try:
        settings = Settings.from_env(os.environ)
    except KeyError as error:
        setup_logging("worker")
        log.error("an environment variable is missing in the pod", variable=error.args[0])
        return ExitCode.FATAL
    setup_logging("worker", log_format=settings.log_format)
    return asyncio.run(run(settings))


async def run(settings: Settings, on_step: Callable[[str], None] = no_step) -> int:
    """Run the task, write the termination message, and return the exit code. `on_step` receives the commit's steps."""
    try:
        task = read_task(settings)
    except WorkerError as error:
        answer = Answer(outcome="Failed", reason=error.reason, message=error.message)
    else:
        set_backup(task.namespace, _subject(task))
        answer = await _run_until_term(settings, task, on_step)
    if answer.message:
        level = logging.INFO if answer.outcome == "Completed" else logging.ERROR
        log.log(level, "result", reason=answer.reason, message=answer.message)
    _write_answer(settings, answer)
    code = exit_code(answer)
    log.info("ended", outcome=answer.outcome, reason=answer.reason or None, exit_code=int(code))
    return code


def _subject(task: _Task) -> str:
    """Return the name of the object that the task is about, for the log."""
    if isinstance(task, BackupTask):
        return task.backup
    if isinstance(task, RestoreTask):
        return task.restore
    return task.repository if isinstance(task, ProbeTask) else task.chain


async def _run_until_term(settings: Settings, task: _Task, on_step: Callable[[str], None]) -> Answer:
    stopping = Stopping()
    work = asyncio.create_task(_answer(settings, task, on_step, stopping))
    stopping.ends(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.terminate)
    try:
        return await work
    except asyncio.CancelledError:
        return _cancelled(stopping)


async def _answer(settings: Settings, task: _Task, on_step: Callable[[str], None], stopping: Stopping) -> Answer:
    started = datetime.now(UTC)
    try:
        if isinstance(task, ProbeTask):
            return await asyncio.to_thread(run_probe, settings, task)
        if isinstance(task, VerificationTask):
            return await _verification(settings, task, stopping)
        if isinstance(task, RestoreTask):
            return await _restore(settings, task, on_step, stopping)
        if isinstance(task, ConsolidationTask):
            return await _consolidation(settings, task, on_step, stopping)
        return await _backup(settings, task, on_step, stopping)
    except WorkerError as error:
        reason, message = error.reason, error.message
    except Exception as error:
        reason, message = _own_fault(error)
    return Answer(outcome="Failed", reason=reason, message=message, started=started, finished=datetime.now(UTC))


async def _backup(settings: Settings, task: BackupTask, on_step: Callable[[str], None], stopping: Stopping) -> Answer:
    """Run a backup. After a failure or cancellation the answer names the VMA's job and what is left of it."""
    state = JobState(task, settings)
    state.stopping = stopping

    async def run() -> Answer:
        with contextlib.closing(state):
            async with serving(build_app(state), settings):
                return await run_backup(settings, task, state, on_step)

    answer = await _with_failures(run(), lambda: _cancelled(stopping))
    if answer.outcome == "Completed":
        return answer
    return answer.model_copy(
        update={
            "job_id": state.job_id,
            "left": state.left,
            "stuck_client": state.stuck_client,
            "started": state.started,
            "finished": datetime.now(UTC),
        }
    )


async def _verification(settings: Settings, task: VerificationTask, stopping: Stopping) -> Answer:
    """Run a verification. After a failure or cancellation the answer has the results so far."""
    state = VerificationState(task, settings, stopping)

    async def run() -> Answer:
        async with serving(Starlette(routes=common_routes(state.progress, stopping)), settings):
            return await run_verification(settings, task, state)

    answer = await _with_failures(
        run(), lambda: _cancelled(stopping, "the verification", "all restore points were verified")
    )
    return answer.model_copy(
        update={
            "results": "".join(state.results),
            "read_bytes": state.read_bytes,
            "started": state.started,
            "finished": datetime.now(UTC),
        }
    )


async def _restore(settings: Settings, task: RestoreTask, on_step: Callable[[str], None], stopping: Stopping) -> Answer:
    """Run a restore."""
    state = RestoreState(task, settings, stopping)

    async def run() -> Answer:
        async with serving(Starlette(routes=common_routes(state.progress, stopping)), settings):
            if task.serve:
                return await serve_point(settings, task, state)
            run = run_receiver if task.sender else run_restore
            return await run(settings, task, state, on_step)

    before = "its time was over" if task.serve else "all disks were restored"
    answer = await _with_failures(run(), lambda: _cancelled(stopping, "the restore", before))
    return answer.model_copy(update={"started": state.started, "finished": datetime.now(UTC)})


async def _consolidation(
    settings: Settings, task: ConsolidationTask, on_step: Callable[[str], None], stopping: Stopping
) -> Answer:
    """Run a consolidation. After a failure or cancellation the answer has what was merged so far."""
    state = ConsolidationState(task, settings, stopping)

    async def run() -> Answer:
        async with serving(Starlette(routes=common_routes(state.progress, stopping)), settings):
            return await run_consolidation(settings, task, state, on_step=on_step)

    answer = await _with_failures(run(), lambda: _cancelled(stopping, "the consolidation", "all layers were merged"))
    return answer if answer.consolidated else answer.model_copy(update={"consolidated": state.result()})


async def _with_failures(work: Awaitable[Answer], cancelled: Callable[[], Answer]) -> Answer:
    """Return the answer of `work`, or the one that stands for its failure; `cancelled` makes that of a cancellation."""
    try:
        return await work
    except asyncio.CancelledError:
        return cancelled()
    except WorkerError as error:
        return Answer(outcome="Failed", reason=error.reason, message=error.message)
    except Exception as error:
        reason, message = _own_fault(error)
        return Answer(outcome="Failed", reason=reason, message=message)


def _cancelled(stopping: Stopping, what: str = "the Backup", before: str = "the restore point was committed") -> Answer:
    if stopping.requested:
        text = f"{what} was cancelled before {before}"
        return Answer(outcome="Cancelled", reason=Reason.CANCELLED, message=text)
    text = f"the worker received a termination signal before {before}"
    return Answer(outcome="Cancelled", reason=Reason.TERMINATED, message=text)


def _own_fault(error: Exception) -> tuple[str, str]:
    log.error("unexpected error", exc_info=error)
    return Reason.INTERNAL_ERROR, f"{type(error).__name__}: unexpected error in the worker; its log has the details"


def read_task(settings: Settings) -> _Task:
    """Return the pod's task. Raises WorkerError BadTask, whose message names the field."""
    try:
        raw = json.loads(settings.task_file.read_bytes())
        kind = str(raw.get("kind")) if isinstance(raw, dict) else ""
        if kind not in _KINDS:
            raise WorkerError(Reason.BAD_TASK, f"the task's kind is none of {', '.join(_KINDS)}: {kind[:64]!r}")
        return _KINDS[kind].model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WorkerError(Reason.BAD_TASK, f"the task's field {where}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise WorkerError(Reason.BAD_TASK, f"the task can't be read: {error}") from error


def _write_answer(settings: Settings, answer: Answer) -> None:
    try:
        settings.termination_file.write_text(answer.to_message())
    except (OSError, ValueError) as error:
        # A recovery attempt then finds a committed restore point by its manifest.
        log.error("the termination message can't be written", error=error)
