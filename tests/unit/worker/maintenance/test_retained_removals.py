"""What a maintenance pod does with immutable restore points, and what it reports of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.chains import PATHS, START, files, fill, increment, point
from tests.unit.worker.proberig import names, probe, scan

from sendense_operator.answer import ImmutableBit
from sendense_operator.catalogue_format import Obstacle, ObstacleReason
from sendense_operator.chain.immutability import ImmutabilityRule
from sendense_operator.task import Immutability
from sendense_operator.worker.maintenance import chain_maintenance, repository_maintenance

DAY = timedelta(days=1)
NOW = datetime.now(UTC)
FULL = point(1, until=NOW + DAY)
I2 = increment(2, FULL)


@pytest.mark.parametrize(
    "immutability",
    [Immutability(now=NOW), Immutability(now=NOW + 1000 * DAY), None],
    ids=["early", "server's clock ahead", "earlier controller"],
)
def test_a_removal_is_refused_and_reported(root: Path, immutability: Immutability | None) -> None:
    fill(root, FULL, I2)
    before = files(root)
    reported = probe(root, FULL, immutability=immutability)
    assert files(root) == before
    assert names(reported) == ["b1", "b2"]
    assert reported.points[0].retain_until == FULL.retain_until
    assert reported.points[1].retain_until is None
    until = f"{NOW + DAY:%Y-%m-%dT%H:%M:%SZ}"
    refusal = Obstacle(
        reason=ObstacleReason.RETAINED,
        doing="removing",
        file="shop/db/backups/b1.json",
        message=f"the restore point is immutable until {until}",
    )
    assert reported.chain.obstacles == (refusal,)


def test_a_pods_clock_that_is_ahead_frees_nothing(root: Path) -> None:
    """The controller's time counts then: here the window is over by the pod's clock only."""
    past = point(1, until=NOW - DAY)
    fill(root, past)
    assert probe(root, past, immutability=Immutability(now=NOW - 2 * DAY)).points
    assert not probe(root, past, immutability=Immutability(now=NOW)).points
    assert files(root) == set()


def test_others_of_the_same_request_go(root: Path) -> None:
    fill(root, FULL, I2)
    reported = probe(root, FULL, I2, immutability=Immutability(now=NOW))
    assert (names(reported), reported.tombstones) == (["b1"], [])


def test_days_count_from_the_commit(root: Path) -> None:
    one = point(1)
    fill(root, one)
    assert probe(root, one, immutability=Immutability(now=START + DAY, days=2)).points
    assert not probe(root, one, immutability=Immutability(now=START + 3 * DAY, days=2)).points


def test_one_that_was_removed_by_other_means_keeps_its_files(root: Path) -> None:
    fill(root, FULL, I2)
    (root / PATHS.tombstones).mkdir()
    (root / "shop/db/backups/b1.json").rename(root / PATHS.tombstone("b1", FULL.backup.uid))
    reported = probe(root, I2, immutability=Immutability(now=NOW))
    assert set(FULL.files()) <= files(root)
    assert [obstacle.reason for obstacle in reported.chain.obstacles] == [ObstacleReason.RETAINED]
    assert [stone.backup for stone in reported.tombstones] == ["b1"]


def test_a_scan_quarantines_and_sweeps_nothing_of_it(root: Path) -> None:
    fill(root, FULL, I2)
    kept = files(root)
    stray = root / "shop/db/disk-0/full-20200101-000000.qcow2"
    stray.write_bytes(b"x")
    intent = root / "shop/db/backups/b9.json.partial"
    intent.write_bytes(point(9, FULL.disks).to_json())
    reported = scan(root, immutability=Immutability(now=NOW))
    assert kept <= files(root)
    assert not stray.exists()
    assert not intent.exists(), "an interrupted commit that claims its files is rolled back without them"
    assert reported.answer.swept > 0


def test_it_reports_whether_it_can_set_the_immutable_bit(root: Path) -> None:
    assert probe(root).answer.immutable_bit == ""
    assert probe(root, immutability=Immutability(now=NOW)).answer.immutable_bit == ""
    assert probe(root, immutability=Immutability(now=NOW, days=1)).answer.immutable_bit in set(ImmutableBit)


@pytest.mark.parametrize("bit", ImmutableBit)
def test_a_scan_sets_the_bit_where_it_can(root: Path, monkeypatch: pytest.MonkeyPatch, bit: ImmutableBit) -> None:
    asked: list[ImmutabilityRule] = []
    monkeypatch.setattr(repository_maintenance, "find_support", lambda root, tag: bit)
    monkeypatch.setattr(chain_maintenance, "refresh_bits", lambda root, chain, rule: asked.append(rule))
    fill(root, FULL)
    scan(root, immutability=Immutability(now=NOW, days=3))
    assert [rule.days for rule in asked] == ([3] if bit is ImmutableBit.USED else [])


def test_what_can_not_be_protected_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(root: Path, chain: object, rule: object) -> None:
        raise PermissionError(1, "Operation not permitted", str(root / FULL.disks[0].file))

    monkeypatch.setattr(repository_maintenance, "find_support", lambda root, tag: ImmutableBit.USED)
    monkeypatch.setattr(chain_maintenance, "refresh_bits", refuse)
    fill(root, FULL)
    (obstacle,) = scan(root, immutability=Immutability(now=NOW, days=3)).chain.obstacles
    assert (obstacle.reason, obstacle.doing, obstacle.file) == (
        ObstacleReason.READ_ONLY,
        "protecting",
        FULL.disks[0].file,
    )


def test_on_a_full_volume_nothing_is_said_of_the_bit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(root: Path, tag: str) -> ImmutableBit:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(repository_maintenance, "find_support", full)
    assert probe(root, immutability=Immutability(now=NOW, days=1)).answer.immutable_bit == ""
