"""What a repository's restore points take in memory."""

from __future__ import annotations

import tracemalloc
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from tests.unit.test_catalogue_format import AT, point

from sendense_operator.catalogue_format import CatalogueError, ChainRecord, PointRecord, RootRecord
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.catalogue import decisions
from sendense_operator.reconcile.catalogue.decisions import changed_chains, merge_scan, sort_records
from sendense_operator.reconcile.state.hints import RepositoryHints
from sendense_operator.reconcile.state.packed_points import PackedPoints, pack, unpack
from sendense_operator.reconcile.state.recent import Recent
from sendense_operator.reconcile.state.records import ScanResult
from sendense_operator.vm_hardware import Hardware, NetworkCard

REPOSITORIES = 5
EACH = 1000
PER_POINT = 1500
HARDWARE = Hardware(
    processors=4,
    memory_bytes=8 << 30,
    guest_os="rhel8_64Guest",
    network_cards=(NetworkCard(network="Production", mac_address="00:50:56:ab:00:01"),),
    datastores=("ssd-1", "ssd-1"),
)
"""Bytes: 100,000 points in 150 MB."""


def points(count: int, seed: int = 0) -> Iterator[PointRecord]:
    for number in range(count):
        uid = str(uuid.UUID(int=seed << 64 | number))
        at = AT + timedelta(hours=number)
        changes = {"backup_uid": uid, "job_id": f"backup-{uid}", "vm": f"vm-{number % 50}", "finished": at}
        yield point(number).model_copy(update=changes)


def test_what_is_packed_comes_back() -> None:
    for record in points(20):
        assert unpack(pack(record)) == record
    described = point(1).model_copy(update={"hardware": HARDWARE})
    assert unpack(pack(described)) == described
    assert len(pack(described)) - len(pack(point(1))) < 64, "its text is common to most"
    several = PackedPoints()
    sizes = sum(several.add(record) for record in points(20))
    assert dict(several) == {record.backup_uid: record for record in points(20)}
    assert several.size == sizes
    assert several == dict(several)


def test_many_points_of_several_repositories_take_few_bytes() -> None:
    hints = RepositoryHints()
    tracemalloc.start()
    try:
        for number in range(REPOSITORIES):
            reported = sort_records(points(EACH, number), AT, ())
            hints.catalogues.put(ObjectKey("ns", f"r{number}"), merge_scan(None, reported))
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(hints.catalogues.values()) == REPOSITORIES
    count = REPOSITORIES * EACH
    assert most / count < PER_POINT
    sizes = sum(known.size for known in hints.catalogues.values())
    assert 0.5 * kept < sizes < 2 * kept, "what the bound counts is what is taken"


def test_the_oldest_catalogues_go_when_there_is_no_room() -> None:
    known = merge_scan(None, sort_records(points(10), AT, ()))
    recent: Recent[str, object] = Recent(100, weigh=lambda _: known.size, most=3 * known.size)
    for name in "abcd":
        recent.put(name, known)
    assert [recent.get(name) is not None for name in "abcd"] == [False, True, True, True]


def test_a_catalogue_that_takes_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "MAX_SIZE", 100_000)
    with pytest.raises(CatalogueError, match="memory"):
        sort_records(points(1000), AT, ())
    with pytest.raises(CatalogueError, match="memory"):
        sort_records((ChainRecord(vm=f"v{number}") for number in range(1000)), AT, ())


def test_a_point_that_changed_is_noticed() -> None:
    def reported(damage: str) -> ScanResult:
        records = [record.model_copy(update={"vm": "db", "damage": damage}) for record in points(3)]
        return sort_records([*records, ChainRecord(vm="db"), RootRecord()], AT, ())

    before = merge_scan(None, reported(""))
    assert changed_chains(before, reported("")) == []
    assert changed_chains(before, reported("bad")) == ["db"]
