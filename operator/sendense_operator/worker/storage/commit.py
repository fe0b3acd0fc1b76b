"""The commit of one backup: intent, renames, and the manifest last. Every step is durable before the next.

Called in a thread, and never cancelled: it takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from sendense_operator.chain import layout
from sendense_operator.chain.manifest import Manifest
from sendense_operator.worker.errors import storage_error
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.durable_io import ensure_folder, fsync_path, write_durable


def no_step(_: str) -> None:
    """Nobody watches the steps."""


def commit(
    root: Path,
    place: PurePosixPath,
    manifest: Manifest,
    lock: ChainLock,
    on_step: Callable[[str], None] = no_step,
) -> None:
    """Make the backup a restore point.

    `place`: path of the manifest below `root`. All files of the manifest lie beside their names with
    `.partial` added and are durable. `on_step` receives what comes next; a test stops the process there.
    Raises WorkerError: Fenced before anything is touched by a worker that lost the lock.
    """
    intent = root / layout.partial(place)

    def step(name: str) -> None:
        on_step(name)
        lock.check()

    try:
        step("intent")
        ensure_folder(intent.parent, root)
        # Now, while there is room: on a full volume no restore point could be removed without it.
        ensure_folder(intent.parent.with_name(layout.TOMBSTONES), root)
        write_durable(intent, manifest.to_json())
        fsync_path(intent.parent)
        for name in manifest.files():
            path = PurePosixPath(name)
            step(f"rename {name}")
            (root / layout.partial(path)).rename(root / path)
        for folder in sorted({(root / name).parent for name in manifest.files()}):
            step(f"fsync {folder.relative_to(root)}")
            fsync_path(folder)
        step("manifest")
        intent.rename(root / place)
        step("fsync manifest")
        fsync_path(intent.parent)
        on_step("done")
    except OSError as error:
        raise storage_error(error, "committing the backup") from error
