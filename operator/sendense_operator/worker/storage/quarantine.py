"""Quarantine of orphans. They are moved and never deleted, so that an administrator can find out what they are."""

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

_MAX_PER_SECOND: Final = 1000
"""Folders that one second may bring into the quarantine."""


def quarantine(
    root: Path,
    paths: ChainPaths,
    files: Iterable[PurePosixPath],
    now: datetime,
    on_step: Callable[[str], None] = no_step,
) -> int:
    """Move files of a chain whose lock is held into its quarantine, and return their number. Raises OSError.

    `on_step` receives the name of each step before it is done, and may raise to stop there. The files keep their names
    and those of their folders, so that an image in the quarantine finds its backing file there.
    """
    chosen = sorted(files)
    if not chosen:
        return 0
    target = _new_folder(root, paths, now)
    for file in chosen:
        folder = target / file.parent.name
        on_step(f"quarantine {file}")
        ensure_folder(root / folder, root)
        (root / file).rename(root / folder / file.name)
        log.warning("orphan quarantined", file=file, target=folder / file.name)
    # The new folders first: after a crash, each file must be in at least one place.
    for folder in sorted({target / file.parent.name for file in chosen}) + sorted({file.parent for file in chosen}):
        fsync_path(root / folder)
    return len(chosen)


def _new_folder(root: Path, paths: ChainPaths, now: datetime) -> PurePosixPath:
    """Return the path of a new folder. In an existing one, a file could replace another of the same name."""
    stem = f"{now:%Y%m%d-%H%M%S}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, _MAX_PER_SECOND))]
    return next(paths.quarantine / name for name in names if not os.path.lexists(root / paths.quarantine / name))


def count_quarantined(root: Path, paths: ChainPaths) -> int:
    """Return the number of files in the quarantine. Raises OSError."""
    found = 0
    pending = [root / paths.quarantine]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(Path(entry.path))
                    else:
                        found += 1
        except FileNotFoundError:
            continue
    return found
