"""A look at a repository: is it one, can it be written, how much room is there."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

from sendense_operator.chain import layout
from sendense_operator.chain.layout import ChainPaths, LayoutError
from sendense_operator.task import Answer, ProbeTask
from sendense_operator.worker import recovery, repository
from sendense_operator.worker.files import ensure_folder
from sendense_operator.worker.lock import ChainLock
from sendense_operator.worker.reasons import Reason, WorkerError, storage_error
from sendense_operator.worker.settings import Settings

log = logging.getLogger(__name__)


def run_probe(settings: Settings, task: ProbeTask) -> Answer:
    """Raises WorkerError when the repository can't be used."""
    started = datetime.now(UTC)
    try:
        root = settings.repository / layout.check_root(task.repository_path)
    except LayoutError as error:
        raise WorkerError(Reason.BAD_TASK, str(error)) from error
    if task.expected_id is None:
        try:
            ensure_folder(root, settings.repository)
        except OSError as error:
            raise storage_error(error, "making the repository's folder") from error
    identity = repository.init_repository(root, task.repository_uid, task.expected_id)
    repository.check_writable(root, settings.pod_uid)
    return Answer(
        outcome="Completed",
        repository_id=identity,
        capacity=repository.capacity(root),
        swept=sweep_chains(root, settings.pod_uid),
        started=started,
        finished=datetime.now(UTC),
    )


def sweep_chains(root: Path, owner: str) -> int:
    """Remove what dead attempts left, in every chain that nobody is writing; how many files."""
    swept = 0
    for namespace, vm in repository.chain_folders(root):
        try:
            paths = ChainPaths(namespace, vm)
        except LayoutError:
            continue
        try:
            swept += _sweep(root, paths, owner)
        except OSError as error:
            log.warning("%s is not swept: %s", paths.folder, error)
    return swept


def _sweep(root: Path, paths: ChainPaths, owner: str) -> int:
    if not recovery.partials(root, paths):
        return 0
    lock = ChainLock.try_acquire(root / paths.lock, root, owner)
    if lock is None:
        return 0
    with lock:
        before = len(recovery.partials(root, paths))
        recovery.finish_commits(root, paths, None)
        recovery.sweep(root, paths)
        return before
