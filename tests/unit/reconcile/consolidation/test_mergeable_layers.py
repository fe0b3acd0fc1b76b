"""What of a chain's status says that there is something to merge."""

from __future__ import annotations

from tests.support.sample import NOON

from sendense_operator.api.v1alpha1.backupchain import (
    BackupChainStatus,
    PointState,
    RemovalState,
    RemovedPoint,
    RestorePoint,
)
from sendense_operator.reconcile.consolidation.mergeable_layers import MergeableLayers
from sendense_operator.task import BackupType


def removed(name: str, state: RemovalState = RemovalState.NEEDED, needed_by: str | None = "b9") -> RemovedPoint:
    return RemovedPoint(backup=name, uid=name, state=state, needed_by=needed_by, since=NOON)


def layers(*points: RemovedPoint, depth: int = 3) -> MergeableLayers:
    return MergeableLayers.of(BackupChainStatus(depth=depth, points=3, removed=list(points)))


def test_only_what_others_need_can_be_merged() -> None:
    found = layers(
        removed("b2"),
        removed("b1"),
        removed("pending", RemovalState.PENDING),
        removed("retained", RemovalState.RETAINED),
        removed("busy", needed_by=None),
    )
    assert found.needed == ("b1", "b2")


def test_the_digest_changes_with_what_there_is_to_merge() -> None:
    one = layers(removed("b1"))
    assert one.digest(8) == layers(removed("b1"), removed("p", RemovalState.PENDING), depth=8).digest(8)
    others = [layers(removed("b2")), layers(removed("b1"), removed("b2")), layers(), layers(removed("b1"), depth=9)]
    assert len({found.digest(8) for found in (one, *others)}) == 5
    assert one.digest(8) != one.digest(2), "a lower target may make the chain too deep"


def test_damaged_restore_points_are_named() -> None:
    points = [
        RestorePoint(backup=state.value.lower(), time=NOON, type=BackupType.FULL, state=state) for state in PointState
    ]
    assert MergeableLayers.of(BackupChainStatus(restore_points=points)).damaged == ("damaged",)


def test_a_chain_that_holds_nothing() -> None:
    assert MergeableLayers.of(BackupChainStatus()).is_empty
    assert not layers().is_empty
    assert not MergeableLayers.of(BackupChainStatus(removed=[removed("b1")])).is_empty
