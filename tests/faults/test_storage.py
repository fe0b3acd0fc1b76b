"""Storage that fills up or loses what it was given: never a committed backup, and all the room back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from tests.support import nodes, repositories
from tests.support.admission import mutated_pods
from tests.support.objects import find_condition
from tests.support.outcomes import PATIENCE, failed
from tests.support.programs import engine
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import OFTEN, Workspace

SIZE = 16 * MIB
LOSES_WRITES = f"""#!/bin/sh
# qemu-nbd, but an export for the VMA goes nowhere and reads as zeroes.
for argument; do
    shift
    case "$argument" in *blkdebug*) argument=driver=null-co,size={SIZE},read-zeroes=on ;; esac
    set -- "$@" "$argument"
done
exec /usr/bin/qemu-nbd "$@"
"""


@pytest.mark.parametrize("coverage", ["WholeDisk", "AllocatedOnly"])
def test_an_export_that_loses_its_writes(space: Workspace, coverage: str) -> None:
    """The VMA completes the disk, and the layer is a valid image: only what arrived tells that it is empty."""
    with mutated_pods(space.kube, space.namespace, "/usr/local/bin/qemu-nbd", LOSES_WRITES):
        space.ready(Disk("random", SIZE), appliance={"traits": {"fullCoverage": coverage}})
        space.backup()
        message = failed(space, "WritesLost")
    assert "writes were lost" in message
    assert len(space.vma.events("disk_written")) == 1
    space.backup("afterwards")
    space.wait_phase("Completed", "afterwards", timeout=PATIENCE)


@pytest.fixture
def tiny(space: Workspace) -> Iterator[str]:
    """A folder of 64 MiB on a node that is not the reference VMA's, as the node sees it."""
    node, path = _node(space), f"/mnt/{space.namespace}"
    engine("exec", node, "mkdir", "-p", path)
    engine("exec", node, "mount", "-t", "tmpfs", "-o", "size=64m,mode=0777", "tmpfs", path)
    yield path
    engine("exec", node, "umount", "--lazy", path)
    engine("exec", node, "rmdir", path)


def _node(space: Workspace) -> str:
    return repositories.worker_nodes(space.kube)[nodes.apart_from_the_vma(space.kube)]


def test_somebody_else_fills_it_during_the_copy(space: Workspace, tiny: str) -> None:
    node = _node(space)
    place = nodes.apart_from_the_vma(space.kube)
    space.ready(Disk("random", 24 * MIB), on_node=tiny, node=place, minFreeBytes=16 * MIB, probeIntervalSeconds=OFTEN)
    space.vma.fault("client", "rate", bytes_per_second=MIB)
    space.backup(retries=2)
    space.wait_copying(timeout=PATIENCE)
    engine("exec", node, "sh", "-c", f"dd if=/dev/zero of={tiny}/other bs=1M 2>/dev/null; true")
    status = space.wait_phase("Failed", timeout=PATIENCE)
    stalled = find_condition(status, "Stalled")
    assert stalled["reason"] == "RepositoryFull"
    assert f"of {64 * MIB} bytes are free" in stalled["message"]
    assert status["attempts"] == 1, "another attempt would only fill it again"
    assert _left(node, tiny) == [f"{tiny}/other"]
    space.wait_reason("RepositoryFull", "repo", "BackupRepository")
    engine("exec", node, "rm", f"{tiny}/other")
    wait_for("the room back", partial(_has_room, node, tiny))
    space.backup("afterwards")
    space.wait_phase("Completed", "afterwards", timeout=PATIENCE)


def _left(node: str, folder: str) -> list[str]:
    """Large files: neither the repository's marker nor locks."""
    return engine("exec", node, "find", folder, "-type", "f", "-size", "+64k").split()


def _has_room(node: str, folder: str) -> None:
    used = int(engine("exec", node, "df", "--output=used", "-k", folder).split()[-1])
    until(used < 1024, f"{used} KiB are used")
