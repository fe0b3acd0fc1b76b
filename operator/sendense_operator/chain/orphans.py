"""Orphans: files in disk folders that no manifest names and that are not partials, which a sweep removes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from sendense_operator.chain import layout
from sendense_operator.chain.disk_file import DiskFile
from sendense_operator.chain.freeable_layers import add_holder, dependencies
from sendense_operator.chain.manifest import Manifest


def unknown_files(manifests: Sequence[Manifest], files: Mapping[str, DiskFile]) -> tuple[str, ...]:
    """Return the orphans among `files`, which are in the disk folders.

    `manifests`: those of restore points and of tombstones.
    """
    named = {name for manifest in manifests for name in manifest.files()}
    return tuple(path for path in files if path not in named and not layout.is_partial(PurePosixPath(path).name))


def movable_files(manifests: Sequence[Manifest], files: Mapping[str, DiskFile]) -> tuple[str, ...]:
    """Return the orphans that no other file depends on, neither by a manifest nor by a header.

    Without names that begin with a dot, because file servers use such names for files of their own.
    """
    unknown = unknown_files(manifests, files)
    candidates = {path for path in unknown if not PurePosixPath(path).name.startswith(".")}
    links = dependencies(manifests, files, candidates)
    needed: dict[str, str] = {}
    for manifest in manifests:
        for disk in manifest.disks:
            add_holder(disk.file, "", links, needed)
    for path in files:
        if path not in candidates:
            add_holder(path, "", links, needed)
    return tuple(
        path
        for path in unknown
        if path in candidates - needed.keys() and path.removesuffix(layout.DIGESTS) not in needed
    )
