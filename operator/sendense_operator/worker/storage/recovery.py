"""Recovery of a chain after earlier attempts: committed restore points, interrupted commits, and partials.

All of it happens under the chain's lock: `on_step` receives the name of each step before it is done, and raises if the
lock was lost. A commit first writes its manifest as `*.json.partial` (the intent), once every layer is checked and
durable; then it renames the layers, and last the manifest. Therefore an interrupted commit can be completed or rolled
back. Files that a committed manifest names are never touched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from sendense_operator.chain import layout
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Manifest, ManifestError
from sendense_operator.logs import get_logger
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.storage import merge_journal
from sendense_operator.worker.storage.chain_folder import manifest_bytes, manifests_in, read_manifest, tombstones_in
from sendense_operator.worker.storage.commit import no_step
from sendense_operator.worker.storage.durable_io import fsync_path, is_folder, is_regular, names_in
from sendense_operator.worker.storage.merge_switch import drop_merge, finish_merge

log = get_logger(__name__)

_Step = Callable[[str], None]


def find_committed(root: Path, paths: ChainPaths, backup: str, uid: str) -> tuple[str, Manifest] | None:
    """Return (path below the root, manifest) of the Backup's restore point, None if it has none.

    Raises OSError, and WorkerError RestorePointDamaged if a file that the manifest names is missing.
    """
    for place in paths.manifests(backup, uid):
        manifest = _read(root, place)
        if manifest is None or manifest.backup.uid != uid:
            continue
        missing = [name for name in manifest.files() if not is_regular(root / name)]
        if missing:
            raise WorkerError(Reason.RESTORE_POINT_DAMAGED, f"{place} names {missing[0]}, which does not exist")
        return str(place), manifest
    return None


def free_place(root: Path, paths: ChainPaths, backup: str, uid: str) -> PurePosixPath:
    """Return a path for the Backup's manifest that does not replace that of an earlier Backup of the same name."""
    first, second = paths.manifests(backup, uid)
    return second if os.path.lexists(root / first) else first


def settle(root: Path, paths: ChainPaths, own_uid: str | None, on_step: _Step = no_step) -> None:
    """Bring a chain out of whatever was interrupted: an interrupted merge, and commits as `finish_commits` does."""
    finish_merge(root, paths, on_step)
    finish_commits(root, paths, own_uid, on_step)


def finish_commits(root: Path, paths: ChainPaths, own_uid: str | None, on_step: _Step = no_step) -> None:
    """Complete an interrupted commit of the Backup `own_uid`, and roll back those of others. Raises OSError."""
    for name in names_in(root / paths.backups):
        if not (layout.is_partial(name) and layout.is_manifest(name.removesuffix(layout.PARTIAL))):
            continue
        intent = paths.backups / name
        if is_folder(root / intent):
            continue  # not an intent
        manifest = _read(root, intent)
        if manifest is not None:
            if own_uid is not None and manifest.backup.uid == own_uid and _complete(root, intent, manifest, on_step):
                log.info("completed the commit of an earlier attempt", file=name)
                continue
            _roll_back(root, paths, manifest, on_step)
        # An intent that can't be read was interrupted before any rename, so its layers are still partials.
        on_step(f"unlink {intent}")
        (root / intent).unlink(missing_ok=True)


def _complete(root: Path, intent: PurePosixPath, manifest: Manifest, on_step: _Step) -> bool:
    final = intent.with_name(intent.name.removesuffix(layout.PARTIAL))
    pending = [PurePosixPath(name) for name in manifest.files() if not is_regular(root / name)]
    if any(not is_folder((root / name).parent) for name in manifest.files()):
        return False
    if os.path.lexists(root / final) or any(not is_regular(root / layout.partial(path)) for path in pending):
        return False
    for path in pending:
        on_step(f"rename {path}")
        (root / layout.partial(path)).rename(root / path)
    for folder in {(root / name).parent for name in manifest.files()}:
        fsync_path(folder)
    on_step(f"rename {intent}")
    (root / intent).rename(root / final)
    fsync_path((root / final).parent)
    return True


def _roll_back(root: Path, paths: ChainPaths, manifest: Manifest, on_step: _Step) -> None:
    try:
        committed = b"\n".join(_committed_texts(root, paths))
    except ManifestError as error:
        log.error("layers of an interrupted commit are kept: a manifest that may name them is unreadable", error=error)
        committed = None
    for name in manifest.files():
        path = PurePosixPath(name)
        if not (path.is_relative_to(paths.folder) and is_folder((root / path).parent)):
            continue  # outside of the chain, or behind a link
        if committed is not None and name.encode() in committed:
            log.error("a file of an interrupted commit is kept: a committed manifest names it, too", file=name)
            continue
        for place in (path, layout.partial(path)) if committed is not None else (layout.partial(path),):
            on_step(f"unlink {place}")
            (root / place).unlink(missing_ok=True)


def _committed_texts(root: Path, paths: ChainPaths) -> list[bytes]:
    """Return all committed manifests, including those of unknown formats. Raises ManifestError, OSError."""
    places = [*manifests_in(root, paths), *tombstones_in(root, paths)]
    return [manifest_bytes(root, place) for place in places]


def partials(root: Path, paths: ChainPaths) -> list[Path]:
    """Return the partials in a chain's folders, intents included."""
    chain = root / paths.folder
    folders = [name for name in names_in(chain) if layout.is_disk_folder(name) or name == layout.BACKUPS]
    return [chain / folder / name for folder in folders for name in names_in(chain / folder) if layout.is_partial(name)]


def stray_marks(root: Path, paths: ChainPaths) -> list[Path]:
    """Return the marks whose manifest no longer exists; they would apply to a later manifest of the same name."""
    folder = root / paths.backups
    names = names_in(folder)
    manifests = set(names)
    return [folder / name for name in names if layout.is_unfit(name) and layout.manifest_of(name) not in manifests]


def sweep(root: Path, paths: ChainPaths, on_step: _Step = no_step) -> int:
    """Remove all partials and stray marks of a chain whose lock is held, and return their number. Raises OSError.

    The partial of a merge is left alone while its pod works on it.
    """
    with merge_journal.unless_merging(root, paths) as is_idle:
        if is_idle:
            drop_merge(root, paths, on_step)
        found = [path for path in partials(root, paths) + stray_marks(root, paths) if not is_folder(path)]
        if not is_idle:
            found = [path for path in found if not layout.is_merged_partial(path.name)]
        for path in found:
            name = path.relative_to(root)
            on_step(f"unlink {name}")
            log.info("removing a file of an earlier attempt", file=name)
            path.unlink(missing_ok=True)
    return len(found)


def _read(root: Path, place: PurePosixPath) -> Manifest | None:
    try:
        return read_manifest(root, place)
    except FileNotFoundError:
        return None
    except ManifestError as error:
        log.warning("unreadable manifest ignored", file=place.name, error=error)
        return None
