import base64
import tracemalloc
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sendense_operator import catalogue_format
from sendense_operator.answer import CatalogueSeal, DiskAnswer
from sendense_operator.catalogue_format import (
    MAX_RECORDS,
    PREFIX,
    CatalogueError,
    CatalogueWriter,
    ChainRecord,
    PointRecord,
    Record,
    RootRecord,
    TombstoneRecord,
)
from sendense_operator.task import MAX_DISKS, BackupType

AT = datetime(2025, 10, 5, 12, 0, 0, tzinfo=UTC)
UID = "0b7ec3de-5ced-462b-9912-f63f580d6489"
FOREIGN = [
    "",
    "2025-10-05T12:00:00.123Z INFO worker backup=shop/main sendense_operator.worker: swept",
    f"2025-10-05T12:00:00.123Z INFO worker backup=- x: {PREFIX} 0 . eJw=",
    '{"time": "2025-10-05T12:00:00.123Z", "level": "INFO", "logger": "x", "program": "worker", "event": "swept"}',
    f'{{"time": "2025-10-05T12:00:00.123Z", "level": "INFO", "event": "{PREFIX} 0 . eJw="}}',
    "Traceback (most recent call last):",
    f"{PREFIX}",
    f"{PREFIX} 7",
    f"not {PREFIX} 0 .",
    "\x00\ufffd",
]
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
DISKS = st.builds(
    DiskAnswer,
    index=st.integers(0, 63),
    key=st.integers(0, 9999),
    type=st.sampled_from(BackupType),
    file=TEXT,
    virtual_size=st.integers(0, 1 << 45),
    stored_bytes=st.integers(0, 1 << 45),
    guest_bytes=st.integers(0, 1 << 45),
    received_bytes=st.integers(0, 1 << 45),
    change_id=TEXT,
    depth=st.integers(1, 64),
)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        PointRecord,
        vm=TEXT,
        backup=TEXT,
        backup_uid=TEXT,
        manifest=TEXT,
        sequence=st.integers(0, 10**9),
        started=TIMES,
        finished=TIMES,
        job_id=TEXT,
        vm_name=TEXT,
        disks=st.lists(DISKS, max_size=4).map(tuple),
        damage=TEXT,
        full_next=TEXT,
    ),
    st.builds(
        TombstoneRecord, vm=TEXT, backup=TEXT, backup_uid=TEXT, stored_bytes=st.integers(0, 1 << 50), needed_by=TEXT
    ),
    st.builds(ChainRecord, vm=TEXT, complete=st.booleans(), points=st.integers(0, 10**6), message=TEXT),
    st.builds(RootRecord, complete=st.booleans(), other_folders=st.lists(TEXT, max_size=3).map(tuple)),
)


def read_catalogue(log: Iterable[str], seal: CatalogueSeal) -> list[Record]:
    return list(catalogue_format.read_catalogue(log, seal))


def write(records: list[Record]) -> tuple[list[str], CatalogueSeal]:
    lines: list[str] = []
    writer = CatalogueWriter(lines.append)
    for record in records:
        writer.add(record)
    return lines, writer.close()


def point(number: int, disks: int = 2) -> PointRecord:
    """With change ids that can't be packed any further than real ones."""
    answers = tuple(
        DiskAnswer(
            index=index,
            key=2000 + index,
            type=BackupType.INCREMENTAL,
            file=f"shop/db/disk-{index}/incr-20251005-{number:06}.qcow2",
            virtual_size=1 << 40,
            stored_bytes=number * 4096,
            guest_bytes=number * 512,
            received_bytes=number * 777,
            change_id=f"52 {hash((number, index)) & (1 << 128) - 1:032x}/{number}",
            parent=f"nightly-{number - 1}",
            depth=2,
        )
        for index in range(disks)
    )
    return PointRecord(
        vm="db",
        backup=f"nightly-{number}",
        backup_uid=UID,
        manifest=f"shop/db/backups/nightly-{number}.json",
        sequence=number,
        started=AT,
        finished=AT,
        job_id=UID,
        disks=answers,
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(RECORDS, max_size=20), st.data())
def test_what_is_written_is_read(records: list[Record], data: st.DataObject) -> None:
    lines, seal = write(records)
    log = list(lines)
    for line in data.draw(st.lists(st.sampled_from(FOREIGN), max_size=5)):
        log.insert(data.draw(st.integers(0, len(log))), line)
    assert read_catalogue(log, seal) == records


def test_an_empty_catalogue() -> None:
    lines, seal = write([])
    assert (lines, seal.records) == ([], 0)
    assert read_catalogue(FOREIGN, seal) == []


def test_lines_are_shorter_than_a_runtime_s_limit() -> None:
    records: list[Record] = [point(number, disks=64) for number in range(200)]
    lines, seal = write(records)
    assert len(lines) > 20
    assert max(len(line.encode()) for line in lines) < 16 << 10
    assert read_catalogue([f"{line}\n" for line in lines], seal) == records


def test_ten_thousand_restore_points_fit_a_kubelet_s_log() -> None:
    lines, _ = write([point(number) for number in range(10_000)])
    assert sum(len(line) + 80 for line in lines) < 5 << 20


def cut(line: str) -> str:
    return line[: len(line) // 2]


def flip(line: str) -> str:
    at = len(line) - 40
    return line[:at] + ("A" if line[at] != "A" else "B") + line[at + 1 :]


@pytest.mark.parametrize(
    ("at", "broken"),
    [
        (at, lines)
        for at in (0, 1, -1)
        for lines in (
            lambda line: [],
            lambda line: [line, line],
            lambda line: [cut(line)],
            lambda line: [flip(line)],
            lambda line: [line.rpartition(" ")[0] + " ????"],
            lambda line: [line[:200], "a log line in the middle", line[200:]],
        )
    ],
)
def test_half_a_catalogue_is_none(at: int, broken: object) -> None:
    lines, seal = write([point(number, disks=8) for number in range(400)])
    assert len(lines) > 2
    at %= len(lines)
    assert callable(broken)
    with pytest.raises(CatalogueError):
        read_catalogue([*lines[:at], *broken(lines[at]), *lines[at + 1 :]], seal)


def test_lines_of_another_order() -> None:
    lines, seal = write([point(number, disks=8) for number in range(400)])
    with pytest.raises(CatalogueError):
        read_catalogue([lines[1], lines[0], *lines[2:]], seal)


@pytest.mark.parametrize(
    "seal",
    [
        lambda seal: seal.model_copy(update={"records": seal.records + 1}),
        lambda seal: seal.model_copy(update={"digest": "0" * 64}),
    ],
)
def test_another_seal(seal: object) -> None:
    lines, good = write([point(1), point(2)])
    assert callable(seal)
    with pytest.raises(CatalogueError):
        read_catalogue(lines, seal(good))


def test_a_log_that_was_rotated_away() -> None:
    lines, seal = write([point(number, disks=8) for number in range(400)])
    for kept in ([], lines[1:], lines[:-1]):
        with pytest.raises(CatalogueError):
            read_catalogue(kept, seal)


def test_a_line_that_unpacks_without_end_is_refused_at_its_limit() -> None:
    bomb = base64.b64encode(zlib.compress(b"\n" * (256 << 20), 9)).decode()
    tracemalloc.start()
    try:
        with pytest.raises(CatalogueError, match="more than 1048576 bytes"):
            read_catalogue([f"{PREFIX} 0 . {bomb}"], CatalogueSeal(records=1, digest="0" * 64))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 << 20


def test_records_beyond_the_seal_are_not_read() -> None:
    lines, good = write([point(number) for number in range(50)])
    with pytest.raises(CatalogueError, match="more than the 3 records"):
        read_catalogue(lines, good.model_copy(update={"records": 3}))
    with pytest.raises(CatalogueError, match="at most"):
        read_catalogue(lines, good.model_copy(update={"records": MAX_RECORDS + 1}))


def test_a_point_of_more_disks_than_a_vm_may_have_is_no_record() -> None:
    one = point(1)
    lines, good = write([one.model_copy(update={"disks": one.disks[:1] * (MAX_DISKS + 1)})])
    with pytest.raises(CatalogueError, match="at most 64"):
        read_catalogue(lines, good)
