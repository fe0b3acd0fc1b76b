"""The switch to a merged layer: the only part of a consolidation that changes a chain.

The merged layer takes the name of the layer above the run, so that the headers of its children stay right. Then the
manifest of its restore point is replaced, then the depths in the manifests above it. Each step is durable before the
next. Until the rename the merge can be dropped; from then on it is finished by whoever holds the chain's lock next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from sendense_operator.chain.consolidation import ChainState, replace_disk, with_depths
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Manifest, ManifestDisk, ManifestError
from sendense_operator.logs import get_logger
from sendense_operator.worker.storage import merge_journal
from sendense_operator.worker.storage.chain_folder import (
    ChainFolder,
    StoredPoint,
    manifests_in,
    read_chain,
    read_manifest,
    tombstones_in,
)
from sendense_operator.worker.storage.commit import no_step
from sendense_operator.worker.storage.disk_listing import read_disk_files
from sendense_operator.worker.storage.durable_io import fsync_path, is_regular, replace_durable
from sendense_operator.worker.storage.immutable_bit import release_point
from sendense_operator.worker.storage.merge_journal import JournalError, MergeJournal

log = get_logger(__name__)

_Step = Callable[[str], None]


def chain_state(root: Path, chain: ChainFolder) -> ChainState[StoredPoint]:
    """Return a chain with its files, as the planning of a consolidation needs it. Raises OSError."""
    files = read_disk_files(root, chain.paths)
    is_understood = chain.is_understood and not files.vanished
    return ChainState(chain.paths, chain.points, chain.tombstones, files.files, is_understood)


def switch(root: Path, paths: ChainPaths, journal: MergeJournal, entry: ManifestDisk, on_step: _Step = no_step) -> None:
    """Let the proven merged layer take its place.

    The locks of the chain and of the pins must be held, and the chain be as it was when the merge was planned.
    `on_step` receives the name of each step before it is done, and may raise to stop there. Raises OSError.
    """
    on_step("journal the switch")
    merge_journal.write_journal(root, paths, journal.model_copy(update={"entry": entry}))
    on_step(f"rename {journal.merged}")
    (root / journal.merged).rename(root / journal.layer)
    _finish(root, paths, entry, on_step)


def finish_merge(root: Path, paths: ChainPaths, on_step: _Step = no_step) -> bool:
    """Bring a chain whose lock is held out of an interrupted switch; return whether there was one.

    A merged layer that has not taken its place is dropped, because readers may have pinned the chain meanwhile as it
    still is. Raises OSError.
    """
    try:
        journal = merge_journal.read_journal(root, paths)
    except JournalError as error:
        log.error("the journal of a merge is left alone, and nothing is merged", error=error)
        return False
    if journal is None or journal.entry is None:
        return False
    if is_regular(root / journal.merged):
        on_step(f"unlink {journal.merged}")
        (root / journal.merged).unlink(missing_ok=True)
        fsync_path((root / journal.merged).parent)
        on_step("remove the journal")
        merge_journal.remove_journal(root, paths)
        log.info("dropped a merge that was interrupted", layer=journal.layer)
    else:
        _finish(root, paths, journal.entry, on_step)
        log.info("finished a merge that was interrupted", layer=journal.layer)
    return True


def drop_merge(root: Path, paths: ChainPaths, on_step: _Step = no_step) -> None:
    """Remove the journal of a merge that has not begun to switch, and its layer. The merge lock must be held.

    Raises OSError; leaves a journal alone that can't be read.
    """
    try:
        journal = merge_journal.read_journal(root, paths)
    except JournalError as error:
        log.error("the journal of a merge is left alone", error=error)
        return
    if journal is None or journal.entry is not None:
        return
    on_step(f"drop {journal.merged}")
    (root / journal.merged).unlink(missing_ok=True)
    merge_journal.remove_journal(root, paths)


def _finish(root: Path, paths: ChainPaths, entry: ManifestDisk, on_step: _Step) -> None:
    """Bring the manifests to the layer that is in place; may be repeated after any interruption."""
    folder = PurePosixPath(entry.file).parent
    on_step(f"fsync {folder}")
    fsync_path(root / folder)
    chain = read_chain(root, paths)
    for point in (*chain.points, *chain.tombstones):
        if any(disk.file == entry.file for disk in point.manifest.disks):
            _store(root, point, replace_disk(point.manifest.disks, entry), on_step)
    _entomb_again(root, paths, on_step)
    chain = read_chain(root, paths)
    for point, disks in with_depths(ChainState(paths, chain.points, chain.tombstones, {})):
        _store(root, point, disks, on_step)
    _entomb_again(root, paths, on_step)
    on_step("remove the journal")
    merge_journal.remove_journal(root, paths)


def _store(root: Path, point: StoredPoint, disks: tuple[ManifestDisk, ...], on_step: _Step) -> None:
    if disks == point.manifest.disks:
        return
    on_step(f"replace {point.place}")
    release_point(root, point.place, point.manifest)
    replace_durable(root / point.place, point.manifest.model_copy(update={"disks": disks}).to_json())


def _entomb_again(root: Path, paths: ChainPaths, on_step: _Step) -> None:
    """Remove the manifests of restore points that were removed while their manifests were replaced.

    A removal needs no lock: it renames the manifest, and the new one then appears beside its tombstone.
    """
    removed = {_identity(manifest): place for place, manifest in _manifests(root, tombstones_in(root, paths))}
    for place, manifest in _manifests(root, manifests_in(root, paths)):
        tombstone = removed.get(_identity(manifest))
        if tombstone is not None:
            on_step(f"rename {place}")
            (root / place).rename(root / tombstone)
            fsync_path((root / tombstone).parent)
            fsync_path((root / place).parent)


def _manifests(root: Path, places: Iterable[PurePosixPath]) -> Iterator[tuple[PurePosixPath, Manifest]]:
    """Yield the manifests at `places` that can be read."""
    for place in places:
        try:
            yield place, read_manifest(root, place)
        except (FileNotFoundError, ManifestError):
            continue


def _identity(manifest: Manifest) -> tuple[str, ...]:
    return manifest.backup.uid, *manifest.files()
