"""Which clusters nobody takes down any more."""

from __future__ import annotations

from pathlib import Path

from hack.devcluster import settings
from hack.devcluster.from_packages import orphans


def test_only_clusters_whose_checkout_is_gone_are_orphans() -> None:
    here, gone = (settings.cluster_name(Path(path)) for path in ("/here", "/a/gone"))
    listed = f"{here} /here/build/data\n{gone} /a/gone/build/data\n{gone} /a/gone/build/data\n"
    others = "theirs \ntheirs /a/gone/build/data\nsendense-000000 /\n\n"
    found = orphans.orphans(listed + others, lambda folder: folder == Path("/here"))
    assert found == [(gone, Path("/a/gone"))]
