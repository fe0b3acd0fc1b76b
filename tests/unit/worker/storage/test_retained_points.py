"""Immutable restore points on files: who asks for their removal does not matter, and neither does one wrong clock."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.chains import PATHS, START, files, fill, increment, point, uid_of
from tests.support.interruptions import CutShort, cut_at

from sendense_operator.chain.immutability import STRICT, ImmutabilityRule
from sendense_operator.chain.manifest import Manifest
from sendense_operator.task import Removal
from sendense_operator.worker.storage.chain_folder import read_chain
from sendense_operator.worker.storage.commit import no_step
from sendense_operator.worker.storage.tombstones import FreeResult, RetainedError, entomb, free_layers

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
BEFORE, AFTER = ImmutabilityRule(UNTIL - timedelta(seconds=1)), ImmutabilityRule(UNTIL)
FULL = point(1)
I2 = increment(2, FULL, until=UNTIL)
I3 = increment(3, I2)
CHAIN = (FULL, I2, I3)


def remove(root: Path, manifest: Manifest, rule: ImmutabilityRule, on_step: Callable[[str], None] = no_step) -> bool:
    asked = Removal(vm="db", backup=manifest.backup.name, backup_uid=manifest.backup.uid)
    return entomb(root, PATHS, asked, on_step, rule)


def free(root: Path, rule: ImmutabilityRule, on_step: Callable[[str], None] = no_step) -> FreeResult:
    return free_layers(root, read_chain(root, PATHS), on_step, rule)


def entomb_by_hand(root: Path, manifest: Manifest) -> None:
    """As an earlier version would, which knows no immutability."""
    target = root / PATHS.tombstone(manifest.backup.name, manifest.backup.uid)
    target.parent.mkdir(exist_ok=True)
    (root / PATHS.manifests(manifest.backup.name, manifest.backup.uid)[0]).rename(target)


def names_of(*manifests: Manifest) -> set[str]:
    return {name for manifest in manifests for name in manifest.files()}


@pytest.mark.parametrize(
    "rule", [BEFORE, STRICT, ImmutabilityRule(UNTIL, days=4000)], ids=["early", "unknown", "longer"]
)
def test_a_removal_is_refused_before_anything_changes(tmp_path: Path, rule: ImmutabilityRule) -> None:
    fill(tmp_path, *CHAIN)
    before = files(tmp_path)
    steps: list[str] = []
    with pytest.raises(RetainedError, match="immutable until 20") as refused:
        remove(tmp_path, I2, rule, steps.append)
    assert refused.value.place == PATHS.backups / "b2.json"
    assert (steps, files(tmp_path)) == ([], before)


def test_after_its_time_it_goes_as_any_other(tmp_path: Path) -> None:
    fill(tmp_path, *CHAIN)
    assert remove(tmp_path, I2, AFTER)
    assert remove(tmp_path, I3, AFTER)
    free(tmp_path, AFTER)
    assert files(tmp_path) == names_of(FULL) | {"shop/db/backups/b1.json"}


def test_one_of_another_name_is_found_and_refused(tmp_path: Path) -> None:
    """An adopted Backup may have another name than the one in the manifest."""
    fill(tmp_path, I2)
    asked = Removal(vm="db", backup="other", backup_uid=I2.backup.uid)
    with pytest.raises(RetainedError):
        entomb(tmp_path, PATHS, asked, rule=BEFORE)
    assert (tmp_path / "shop/db/backups/b2.json").exists()


def test_what_an_immutable_point_depends_on_stays(tmp_path: Path) -> None:
    fill(tmp_path, *CHAIN)
    remove(tmp_path, FULL, BEFORE)
    remove(tmp_path, I3, BEFORE)
    done = free(tmp_path, BEFORE)
    assert names_of(FULL, I2) <= files(tmp_path)
    assert not names_of(I3) & files(tmp_path)
    assert [item.needed_by for item in done.waiting] == ["b2"]


@pytest.mark.parametrize("rule", [BEFORE, STRICT], ids=["early", "unknown"])
def test_a_tombstone_that_is_immutable_keeps_its_layers_and_those_below(tmp_path: Path, rule: ImmutabilityRule) -> None:
    fill(tmp_path, *CHAIN)
    for one in CHAIN:
        entomb_by_hand(tmp_path, one)
    done = free(tmp_path, rule)
    assert names_of(FULL, I2) <= files(tmp_path)
    assert not names_of(I3) & files(tmp_path)
    assert [(item.point.manifest.backup.name, item.is_retained) for item in done.waiting] == [
        ("b1", True),
        ("b2", True),
    ]
    assert free(tmp_path, AFTER).waiting == ()
    assert files(tmp_path) == set()


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(3)), st.lists(st.none() | st.integers(-3, 3), min_size=3, max_size=3), st.data())
def test_no_order_of_removals_takes_a_file_of_an_immutable_point(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], windows: list[int | None], data: st.DataObject
) -> None:
    """Cut short at any step, too."""
    now = UNTIL
    untils = [None if days is None else now + timedelta(days=days) for days in windows]
    full = point(1, until=untils[0])
    middle = increment(2, full, until=untils[1])
    chain = (full, middle, increment(3, middle, until=untils[2]))
    rule = ImmutabilityRule(now)
    last = max((at for at, until in enumerate(untils) if until is not None and until > now), default=-1)
    kept = names_of(*chain[: last + 1])
    root = fill(tmp_path_factory.mktemp("repository"), *chain)
    for number in order:
        cut = cut_at(data.draw(st.integers(0, 12)))
        try:
            remove(root, chain[number], rule, cut)
            free(root, rule, cut)
        except RetainedError:
            assert (untils[number] or now) > now
        except CutShort:
            continue
        assert kept <= files(root)
    free(root, rule)
    assert kept <= files(root)
    left = {item.manifest.backup.name for item in read_chain(root, PATHS).points}
    assert {f"b{at + 1}" for at, until in enumerate(untils) if until is not None and until > now} <= left
    shutil.rmtree(root)


def test_days_of_the_repository_count_from_the_commit(tmp_path: Path) -> None:
    fill(tmp_path, FULL)
    rule = ImmutabilityRule(START + timedelta(days=2), days=3)
    with pytest.raises(RetainedError, match="until 2025-10-08T12:00:01Z"):
        remove(tmp_path, FULL, rule)
    assert remove(tmp_path, FULL, ImmutabilityRule(START + timedelta(days=2), days=1))
    assert uid_of(1) in str(next((tmp_path / PATHS.tombstones).iterdir()))
