"""One backup of one VM, from the task to the answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sendense_operator.answer import Answer
from sendense_operator.chain import layout
from sendense_operator.chain.layout import ChainPaths, LayoutError
from sendense_operator.chain.manifest import Manifest
from sendense_operator.logs import get_logger
from sendense_operator.task import BackupTask, Stage
from sendense_operator.vma.credentials import Credentials, CredentialsError
from sendense_operator.vma.vma_client import VMAClient
from sendense_operator.worker.errors import Reason, WorkerError, storage_error
from sendense_operator.worker.lifecycle.stop_requests import run_to_end
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage import recovery
from sendense_operator.worker.storage.chain_folder import read_chain
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.commit import no_step
from sendense_operator.worker.storage.repository_marker import capacity, open_repository
from sendense_operator.worker.vma_job.attempt import Attempt
from sendense_operator.worker.vma_job.attempt_state import JobState
from sendense_operator.worker.vma_job.credential_isolation import take_credentials
from sendense_operator.worker.vma_job.memory_check import limit
from sendense_operator.worker.vma_job.parent_proof import Parents
from sendense_operator.worker.vma_job.preflight import preflight

log = get_logger(__name__)


async def run_backup(
    settings: Settings, task: BackupTask, state: JobState, on_step: Callable[[str], None] = no_step
) -> Answer:
    """Run the backup, and return the answer for the committed restore point.

    A recovery attempt (`adopt_only`) needs no credentials, because it never calls the VMA. `on_step` receives each step
    of the compactions and of the commit. Raises WorkerError; after a failure or cancellation nothing of the attempt is
    left, neither at the VMA nor in the repository.
    """
    root, paths = _places(settings, task)
    credentials = None if task.adopt_only else _credentials(settings)
    open_repository(root, task.repository_id)
    with await ChainLock.acquire(root / paths.lock, root, settings.pod_uid, settings.lock_wait) as lock:
        try:
            recovery.settle(root, paths, task.backup_uid, lock.before)
            swept = recovery.sweep(root, paths, lock.before)
            done = recovery.find_committed(root, paths, task.backup, task.backup_uid)
            chain = read_chain(root, paths)
        except OSError as error:
            raise storage_error(error, "reading the chain") from error
        adopted = done is not None
        if done is not None:
            log.info("this backup is already committed", manifest=done[0])
        elif credentials is None:
            raise WorkerError(Reason.WORKER_DIED, "a recovery attempt found no restore point of it in the repository")
        else:
            parents = Parents(root, paths, task, chain, lock, memory=limit(settings.memory_limits))
            attempt = Attempt(settings, task, state, root, paths, lock, parents)
            done = await _attempt(attempt, settings, task, state, credentials, on_step)
        return _answer(root, *done, adopted=adopted, swept=swept)


def _places(settings: Settings, task: BackupTask) -> tuple[Path, ChainPaths]:
    """Return the repository's root and the chain's paths. Raises WorkerError BadTask if the task is not valid."""
    try:
        root = settings.repository / layout.check_root(task.repository_path)
        paths = ChainPaths(task.folder or task.namespace, task.vm)
        paths.manifests(task.backup, task.backup_uid)
        for position, disk in enumerate(task.disks):
            if disk.index != position or disk.virtual_size % 512 or not disk.virtual_size:
                raise LayoutError(f"disk {disk.index} is at position {position} and has {disk.virtual_size} bytes")
        return root, paths
    except LayoutError as error:
        raise WorkerError(Reason.BAD_TASK, str(error)) from error


def _credentials(settings: Settings) -> Credentials:
    try:
        return take_credentials(settings.credentials_dir)
    except CredentialsError as error:
        raise WorkerError(Reason.CREDENTIALS_INVALID, str(error)) from error


async def _attempt(
    attempt: Attempt,
    settings: Settings,
    task: BackupTask,
    state: JobState,
    credentials: Credentials,
    on_step: Callable[[str], None],
) -> tuple[str, Manifest]:
    try:
        async with _client(settings, task) as vma:
            state.stage = Stage.PREFLIGHT
            # Before the parents are read, which may take hours: an attempt that cannot work should fail at once.
            await preflight(vma, credentials, task, state.set_message)
            state.message = ""
            plans = await attempt.plan()
            found = await attempt.copy(vma, credentials, plans)
        manifest = await attempt.verify(found, on_step)
        return await attempt.commit(manifest, on_step), manifest
    except BaseException as error:
        log.warning("the attempt failed", error=str(error) or type(error).__name__)
        # Even if the worker is being terminated: a client that is not released hangs on the appliance forever.
        await run_to_end(attempt.abandon(error))
        raise
    finally:
        attempt.close()


def _client(settings: Settings, task: BackupTask) -> VMAClient:
    bundle = settings.ca_bundle if settings.ca_bundle.is_file() else None
    try:
        return VMAClient(task.appliance.url, ca_bundle=bundle, timeout=task.clocks.request)
    except (ValueError, OSError) as error:
        raise WorkerError(Reason.BAD_TASK, f"the appliance's URL or CA bundle can't be used: {error}") from error


def _answer(root: Path, manifest_path: str, manifest: Manifest, *, adopted: bool, swept: int) -> Answer:
    return Answer(
        outcome="Completed",
        job_id=manifest.job_id,
        repository_id=manifest.repository_id,
        manifest=manifest_path,
        retain_until=manifest.retain_until,
        disks=tuple(disk.to_answer() for disk in manifest.disks),
        hardware=manifest.vm.hardware.shown() if manifest.vm.hardware is not None else None,
        capacity=capacity(root),
        started=manifest.started,
        finished=datetime.now(UTC) if not adopted else manifest.finished,
        adopted=adopted,
        swept=swept,
    )
