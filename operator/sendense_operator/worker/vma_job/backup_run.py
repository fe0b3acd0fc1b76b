"""One backup of one VM, from the task to the answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sendense_operator.chain import layout
from sendense_operator.chain.layout import ChainPaths, LayoutError
from sendense_operator.chain.manifest import Manifest
from sendense_operator.logs import get_logger
from sendense_operator.task import Answer, BackupTask, Stage
from sendense_operator.vma.credentials import Credentials, CredentialsError
from sendense_operator.vma.vma_client import VMAClient
from sendense_operator.worker.errors import Reason, WorkerError, storage_error
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage import recovery
from sendense_operator.worker.storage.chain_folder import read_chain
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.commit import no_step
from sendense_operator.worker.storage.repository_marker import capacity, open_repository
from sendense_operator.worker.vma_job.attempt import Attempt, to_the_end
from sendense_operator.worker.vma_job.attempt_state import JobState
from sendense_operator.worker.vma_job.credential_isolation import take_credentials
from sendense_operator.worker.vma_job.memory_check import limit
from sendense_operator.worker.vma_job.parent_proof import Parents
from sendense_operator.worker.vma_job.preflight import preflight

log = get_logger(__name__)


async def run_backup(
    settings: Settings, task: BackupTask, state: JobState, on_step: Callable[[str], None] = no_step
) -> Answer:
    """Answer for the committed backup.

    A task that is to adopt only needs no credentials, since the VMA is never called.

    Raises WorkerError. Failed or cancelled, nothing of the attempt is left, at the VMA and in the repository.
    `on_step` receives each step of the commit.
    """
    root, paths = _places(settings, task)
    credentials = None if task.adopt_only else _credentials(settings)
    open_repository(root, task.repository_id)
    with await ChainLock.acquire(root / paths.lock, root, settings.pod_uid, settings.lock_wait) as lock:
        try:
            recovery.finish_commits(root, paths, task.backup_uid, lock.before)
            swept = recovery.sweep(root, paths, lock.before)
            done = recovery.find_committed(root, paths, task.backup, task.backup_uid)
            chain = read_chain(root, paths)
        except OSError as error:
            raise storage_error(error, "looking at the chain") from error
        adopted = done is not None
        if done is not None:
            log.info("this backup is committed already", manifest=done[0])
        elif credentials is None:
            raise WorkerError(Reason.WORKER_DIED, "a recovery attempt found no such backup in the repository")
        else:
            parents = Parents(root, paths, task, chain, lock, memory=limit(settings.memory_limits))
            attempt = Attempt(settings, task, state, root, paths, lock, parents)
            done = await _attempt(attempt, settings, task, state, credentials, on_step)
        return _answer(root, *done, adopted=adopted, swept=swept)


def _places(settings: Settings, task: BackupTask) -> tuple[Path, ChainPaths]:
    """Return the repository's root and the chain, checked before anything is touched."""
    try:
        root = settings.repository / layout.check_root(task.repository_path)
        paths = ChainPaths(task.folder or task.namespace, task.vm)
        paths.manifests(task.backup, task.backup_uid)
        for position, disk in enumerate(task.disks):
            if disk.index != position or disk.virtual_size % 512 or not disk.virtual_size:
                raise LayoutError(f"disk {disk.index} at position {position} with {disk.virtual_size} bytes")
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
            # What would fail anyway fails before the parents are read.
            await preflight(vma, credentials, task, state.tell)
            state.message = ""
            plans = await attempt.plan()
            found = await attempt.copy(vma, credentials, plans)
        manifest = await attempt.verify(found)
        return await attempt.commit(manifest, on_step), manifest
    except BaseException as error:
        log.warning("giving up", error=str(error) or type(error).__name__)
        # To its end, whoever wants to stop it: a client that is not released hangs on the appliance for ever.
        await to_the_end(attempt.abandon(error))
        raise
    finally:
        attempt.close()


def _client(settings: Settings, task: BackupTask) -> VMAClient:
    bundle = settings.ca_bundle if settings.ca_bundle.is_file() else None
    try:
        return VMAClient(task.appliance.url, ca_bundle=bundle, timeout=task.clocks.request)
    except (ValueError, OSError) as error:
        raise WorkerError(Reason.BAD_TASK, f"the appliance can't be called: {error}") from error


def _answer(root: Path, manifest_path: str, manifest: Manifest, *, adopted: bool, swept: int) -> Answer:
    return Answer(
        outcome="Completed",
        job_id=manifest.job_id,
        repository_id=manifest.repository_id,
        manifest=manifest_path,
        disks=tuple(disk.to_answer() for disk in manifest.disks),
        capacity=capacity(root),
        started=manifest.started,
        finished=datetime.now(UTC) if not adopted else manifest.finished,
        adopted=adopted,
        swept=swept,
    )
