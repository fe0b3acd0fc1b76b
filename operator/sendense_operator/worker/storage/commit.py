"""The commit of one backup: intent, renames, and the manifest last. Each step is durable before the next begins.

After it, the immutable bit is set where that is possible; maintenance sets it if a crash comes in between.

It runs in a thread, takes milliseconds and is never cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from sendense_operator.chain import layout
from sendense_operator.chain.manifest import Manifest
from sendense_operator.worker.errors import storage_error
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.durable_io import ensure_folder, fsync_path, write_durable
from sendense_operator.worker.storage.immutable_bit import protect_point


def no_step(_: str) -> None:
    """Do nothing: the default callback for steps."""


def commit(
    root: Path,
    place: PurePosixPath,
    manifest: Manifest,
    lock: ChainLock,
    on_step: Callable[[str], None] = no_step,
) -> None:
    """Commit a restore point.

    `place`: path of the manifest below `root`. Each file that the manifest names must exist durably under its name with
    `.partial` added. `on_step` receives the name of each step before it is done; tests stop the process there. Raises
    WorkerError; Fenced before a step if another worker has taken over the lock.
    """
    intent = root / layout.partial(place)

    def step(name: str) -> None:
        on_step(name)
        lock.check()

    try:
        step("intent")
        ensure_folder(intent.parent, root)
        # Created now, because removing a restore point needs this folder, also when the volume is full.
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
        if manifest.retain_until is not None:
            on_step("protect")
            protect_point(root, place, manifest)
        on_step("done")
    except OSError as error:
        raise storage_error(error, "committing the backup") from error
