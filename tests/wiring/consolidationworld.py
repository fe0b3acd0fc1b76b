"""What a consolidation's pod does: it merges the layers of removed restore points into those that depend on them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from tests.wiring.repositoryworld import RepositoryWorld, StoredChain, StoredPoint

from sendense_operator.answer import Answer, CatalogueSeal, Consolidated
from sendense_operator.catalogue_format import CatalogueWriter
from sendense_operator.consolidation_task import ConsolidationTask
from sendense_operator.task import Progress, Stage

MERGE_S = 20
"""Seconds that a pod takes."""


class ConsolidationWorld:
    """All consolidations of one volume."""

    def __init__(self, repository: RepositoryWorld) -> None:
        self._repository = repository
        self.merges = False
        """Whether pods merge; else they find nothing that is worth it."""
        self.tasks: list[ConsolidationTask] = []
        """What each pod received."""
        self.deaths = 0
        """Pods that are killed before they answer."""
        self.failed = ""
        """Why pods fail; empty: they do not."""
        self.left = ""
        """Why they leave layers alone; empty: they leave none."""
        self.takes_s = MERGE_S
        self.most = 0
        """Pods that ran at the same time."""

    def answer(
        self, task: ConsolidationTask, age: int, now: datetime, *, busy: bool, cancelled: bool = False
    ) -> tuple[Answer, list[str]] | None:
        """Return what a pod answers that has run for `age` seconds, and its log; None: it has not come to its end."""
        if age < self.takes_s and not cancelled:
            return None
        if self.failed:
            return Answer(outcome="Failed", reason="StorageError", message=self.failed, finished=now), []
        chain = self._repository.chain(task.vm, task.folder or task.namespace)
        before = _stored(chain)
        count = sum(1 for _ in merged(chain)) if self.merges and not (cancelled or self.left) else 0
        log, seal = _catalogue(chain, task.vm, busy=busy)
        newest = chain.newest
        done = Consolidated(
            merges=count,
            removed_layers=count,
            written_bytes=count << 20,
            freed_bytes=before - _stored(chain),
            depth=max((disk.depth for disk in newest.layers.values()), default=0) if newest else 0,
            left=self.left,
            message=f"left: {self.left}" if self.left else "",
        )
        outcome = "Cancelled" if cancelled else "Completed"
        reason = "Cancelled" if cancelled else ""
        answer = Answer(outcome=outcome, reason=reason, consolidated=done, catalogue=seal, finished=now)
        return answer, ["a line of the pod", *log]

    def progress(self, now: datetime) -> Progress:
        """Return what a pod's status endpoint says."""
        return Progress(job_id="", stage=Stage.CONSOLIDATING, started=now, disks=(), message="disk 0: 50% merged")


def _catalogue(chain: StoredChain, vm: str, *, busy: bool) -> tuple[list[str], CatalogueSeal]:
    log: list[str] = []
    writer = CatalogueWriter(log.append)
    for record in chain.records(vm, busy=busy):
        writer.add(record)
    return log, writer.close()


def _stored(chain: StoredChain) -> int:
    everything = [*chain.points.values(), *chain.tombstones.values()]
    return sum(disk.stored_bytes for point in everything for disk in point.layers.values())


def merged(chain: StoredChain) -> Iterator[str]:
    """Merge each layer of a tombstone that one other layer depends on into that one; yield the tombstones' names."""
    while pair := next(_pairs(chain), None):
        stone, child, key = pair
        below, above = stone.layers.pop(key), child.layers[key]
        child.layers[key] = above.model_copy(
            update={
                "type": below.type,
                "parent": below.parent,
                "parent_change_id": below.parent_change_id,
                "stored_bytes": max(below.stored_bytes, above.stored_bytes),
                "guest_bytes": max(below.guest_bytes, above.guest_bytes),
            }
        )
        child.parents.pop(key)
        if (grandparent := stone.parents.pop(key, None)) is not None:
            child.parents[key] = grandparent
        _measure(chain)
        if not stone.layers:
            del chain.tombstones[stone.uid]
        yield stone.backup


def _pairs(chain: StoredChain) -> Iterator[tuple[StoredPoint, StoredPoint, int]]:
    everything = [*chain.points.values(), *chain.tombstones.values()]
    for stone in chain.tombstones.values():
        for key in stone.layers:
            children = [point for point in everything if point.parents.get(key) == stone.uid and key in point.layers]
            if len(children) == 1 and children[0].uid in chain.points:
                yield stone, children[0], key


def _measure(chain: StoredChain) -> None:
    """Correct the depth of all layers, the oldest first."""
    everything = {**chain.tombstones, **chain.points}
    for point in sorted(everything.values(), key=lambda point: point.sequence):
        for key, disk in point.layers.items():
            below = everything[point.parents[key]].layers[key].depth if key in point.parents else 0
            point.layers[key] = disk.model_copy(update={"depth": below + 1})
