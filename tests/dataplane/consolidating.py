"""Consolidations of a chain of real images in this process, and what must hold afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.dataplane.layered_chain import REPOSITORY_ID, LayeredChain
from tests.support.chains import PATHS, uid_of

from sendense_operator.answer import Answer, Consolidated
from sendense_operator.catalogue_format import PointRecord, Record, read_catalogue
from sendense_operator.chain.manifest import Manifest
from sendense_operator.consolidation_task import ConsolidationTask
from sendense_operator.worker.consolidation.consolidation_run import run_consolidation
from sendense_operator.worker.consolidation.consolidation_state import ConsolidationState
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage import merge_journal
from sendense_operator.worker.storage.chain_folder import read_chain

POD = uid_of(4713)


def task(**changes: Any) -> ConsolidationTask:
    fields: dict[str, Any] = {
        "namespace": "shop",
        "vm": "db",
        "chain": "db",
        "repository_id": REPOSITORY_ID,
        "everything": True,
        "min_free": 0,
    }
    return ConsolidationTask(**(fields | changes))


class Run:
    """One consolidation."""

    def __init__(self, chain: LayeredChain, *, switch_wait: float = 0.0, **changes: Any) -> None:
        self.chain = chain
        self.task = task(**changes)
        self.settings = Settings(
            pod_uid=POD,
            pod_ip="127.0.0.1",
            node_ip="",
            repository=chain.root,
            lock_wait=0.3,
            pin_wait=0.3,
            switch_wait=switch_wait,
        )
        self.state = ConsolidationState(self.task, self.settings, Stopping())
        self.steps: list[str] = []
        self.on_step: Callable[[str], None] = lambda _: None
        self._lines: list[str] = []

    async def answer(self) -> Answer:
        """Run it to its end."""

        def step(name: str) -> None:
            self.steps.append(name)
            self.on_step(name)

        return await run_consolidation(self.settings, self.task, self.state, self._lines.append, step)

    def records(self, answer: Answer) -> list[Record]:
        """Return the catalogue that was written."""
        assert answer.catalogue is not None
        return list(read_catalogue(self._lines, answer.catalogue))


async def consolidate(chain: LayeredChain, **changes: Any) -> Consolidated:
    """Consolidate a chain; return what was done."""
    run = Run(chain, **changes)
    answer = await run.answer()
    assert answer.consolidated is not None
    points = [record for record in run.records(answer) if isinstance(record, PointRecord)]
    assert [record.damage for record in points if record.damage] == []
    return answer.consolidated


def assert_sound(chain: LayeredChain, numbers: Iterable[int]) -> None:
    """All restore points with these numbers read as they were made, and nothing of a merge is left."""
    stored = {point.manifest.backup.uid: point.manifest for point in read_chain(chain.root, PATHS).points}
    wanted = [chain.points[number - 1] for number in numbers]
    assert list(stored) == [manifest.backup.uid for manifest in wanted]
    for manifest in wanted:
        now = stored[manifest.backup.uid]
        assert [disk.digest for disk in now.disks] == [disk.digest for disk in manifest.disks]
        assert [disk.change_id for disk in now.disks] == [disk.change_id for disk in manifest.disks]
        for index, disk in enumerate(now.disks):
            assert read(chain.root / disk.file) == chain.content(manifest, index)
    assert not merge_journal.is_switching(chain.root, PATHS)
    assert not (chain.root / merge_journal.journal_of(PATHS)).exists()
    assert not list(chain.root.rglob("*.partial"))


def read(image: Path) -> bytes:
    """Return what an image reads as, by the names in the headers alone."""
    raw = image.with_name(f"{image.name}.raw")
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(image), str(raw)], check=True)
    try:
        return raw.read_bytes()
    finally:
        raw.unlink()


def depths(chain: LayeredChain) -> list[list[int]]:
    """Return the depths of the disks of each restore point, oldest first."""
    return [[disk.depth for disk in point.manifest.disks] for point in read_chain(chain.root, PATHS).points]


def layers(chain: LayeredChain, *manifests: Manifest) -> list[bool]:
    """Return for each layer of restore points whether it exists."""
    return [(chain.root / disk.file).exists() for manifest in manifests for disk in manifest.disks]
