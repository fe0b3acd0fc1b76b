"""Orphans, files that no manifest names, and the next sweep would not take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from sendense_operator.chain import layout
from sendense_operator.chain.disk_file import DiskFile
from sendense_operator.chain.freeable_layers import hold, stands_on
from sendense_operator.chain.manifest import Manifest


def unknown_files(manifests: Sequence[Manifest], files: Mapping[str, DiskFile]) -> tuple[str, ...]:
    """Of all `files` in the disks' folders. `manifests`: those of restore points and tombstones."""
    named = {name for manifest in manifests for name in manifest.files()}
    return tuple(path for path in files if path not in named and not layout.is_partial(PurePosixPath(path).name))


def movable_files(manifests: Sequence[Manifest], files: Mapping[str, DiskFile]) -> tuple[str, ...]:
    """Unknown files that nothing which stays needs: neither by a manifest nor by a header.

    What begins with a dot stays: file servers keep files of their own under such names.
    """
    unknown = unknown_files(manifests, files)
    candidates = {path for path in unknown if not PurePosixPath(path).name.startswith(".")}
    links = stands_on(manifests, files, candidates)
    needed: dict[str, str] = {}
    for manifest in manifests:
        for disk in manifest.disks:
            hold(disk.file, "", links, needed)
    for path in files:
        if path not in candidates:
            hold(path, "", links, needed)
    return tuple(
        path
        for path in unknown
        if path in candidates - needed.keys() and path.removesuffix(layout.DIGESTS) not in needed
    )
