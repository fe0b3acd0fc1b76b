"""Orphans are put aside, never deleted: somebody may find out what they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Final

from sendense_operator.chain.layout import ChainPaths
from sendense_operator.logs import get_logger
from sendense_operator.worker.storage.commit import no_step
from sendense_operator.worker.storage.durable_io import ensure_folder, fsync_path

log = get_logger(__name__)

_MAX_IN_A_SECOND: Final = 1000


def put_aside(
    root: Path,
    paths: ChainPaths,
    files: Iterable[PurePosixPath],
    now: datetime,
    on_step: Callable[[str], None] = no_step,
) -> int:
    """Move files of a chain whose lock is held into its quarantine; how many. Raises OSError.

    `on_step` receives what comes next; it may raise to stop there. The files keep the names of their folders, so that
    images which depend on each other still find each other there.
    """
    chosen = sorted(files)
    if not chosen:
        return 0
    target = _new_folder(root, paths, now)
    for file in chosen:
        folder = target / file.parent.name
        on_step(f"put aside {file}")
        ensure_folder(root / folder, root)
        (root / file).rename(root / folder / file.name)
        log.warning("orphan quarantined", file=file, target=folder / file.name)
    # Where they are first: a power cut must not leave them in neither place.
    for folder in sorted({target / file.parent.name for file in chosen}) + sorted({file.parent for file in chosen}):
        fsync_path(root / folder)
    return len(chosen)


def _new_folder(root: Path, paths: ChainPaths, now: datetime) -> PurePosixPath:
    """Return the path of a new folder: in an existing one, a file of the same name would be replaced."""
    stem = f"{now:%Y%m%d-%H%M%S}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, _MAX_IN_A_SECOND))]
    return next(paths.quarantine / name for name in names if not os.path.lexists(root / paths.quarantine / name))


def count_put_aside(root: Path, paths: ChainPaths) -> int:
    """Return the number of files in the quarantine. Raises OSError."""
    found = 0
    todo = [root / paths.quarantine]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(Path(entry.path))
                    else:
                        found += 1
        except FileNotFoundError:
            continue
    return found
