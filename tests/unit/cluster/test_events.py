"""Events: one object for what was said before, and no failure that matters."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.support.sample import metadata
from tests.wiring.clock import Clock
from tests.wiring.fakecluster import FakeCluster

from sendense_operator.cluster.errors import ForbiddenError
from sendense_operator.cluster.events import EventRecorder, build_event
from sendense_operator.cluster.kinds import EVENT

BACKUP = {"apiVersion": "backup.sendense.io/v1alpha1", "kind": "Backup", "metadata": metadata("Backup", "b")}


async def test_the_same_again_raises_the_count() -> None:
    cluster = FakeCluster(Clock())
    recorder = EventRecorder(cluster)
    for _ in range(3):
        await recorder.post(BACKUP, "Normal", "Started", "worker w")
    await recorder.post(BACKUP, "Normal", "Started", "worker v")
    counts = sorted(event["count"] for event in cluster.all(EVENT))
    assert counts == [1, 3]


async def test_an_event_that_can_not_be_posted_is_no_failure() -> None:
    cluster = FakeCluster(Clock())
    cluster.failing = lambda verb, kind: ForbiddenError("being terminated", terminating=True)
    await EventRecorder(cluster).post(BACKUP, "Warning", "Failed", "why")
    assert cluster.all(EVENT) == []


def test_it_names_its_object_and_stays_short() -> None:
    event = build_event(BACKUP, "Warning", "Failed", "x" * 5000, datetime(2025, 1, 1, tzinfo=UTC))
    assert event["involvedObject"]["uid"] == BACKUP["metadata"]["uid"]  # type: ignore[index]
    assert event["metadata"]["namespace"] == "shop"
    assert len(event["message"]) <= 1000
    assert event["firstTimestamp"] == "2025-01-01T00:00:00Z"
