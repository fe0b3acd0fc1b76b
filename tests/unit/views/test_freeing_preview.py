from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.gateway.rest.rig import backup

from sendense_operator.views.cached_objects import CachedBackup, CachedChain
from sendense_operator.views.freeing_preview import decide_freed, immutable_until


def point(name: str, parent: str = "", **changes: Any) -> CachedBackup:
    disk = {"id": 0, "file": f"{name}.qcow2", "storedBytes": 10, **({"parent": parent} if parent else {})}
    return CachedBackup.from_object(backup(name, storedBytes=10, disks=[disk], **changes))


def chain(*points: tuple[str, str], removed: tuple[tuple[str, str], ...] = ()) -> CachedChain:
    status = {
        "restorePoints": [{"backup": name, "full": full} for name, full in points],
        "removed": [{"backup": name, "neededBy": by, "storedBytes": 5} for name, by in removed],
    }
    return CachedChain.from_object({"metadata": {"namespace": "n", "name": "c", "uid": "u"}, "status": status})


LINE = [point("a"), point("b", "a"), point("c", "b")]


@pytest.mark.parametrize(("name", "size", "needed_by"), [("a", 0, ("b", "c")), ("b", 0, ("c",)), ("c", 10, ())])
def test_a_layer_stays_while_others_stand_on_it(name: str, size: int, needed_by: tuple[str, ...]) -> None:
    (one,) = [record for record in LINE if record.name == name]
    freed = decide_freed(one, LINE, chain(("a", "a"), ("b", "a"), ("c", "a")), "Delete")
    assert (freed.bytes, freed.needed_by) == (size, needed_by)
    assert freed.files == ((f"{name}.qcow2",) if size else ())


def test_what_waited_for_it_goes_along() -> None:
    freed = decide_freed(point("c", "b"), [point("c", "b")], chain(("c", "b"), removed=(("b", "c"),)), "")
    assert freed.bytes == 15


def test_beside_a_removed_one_in_doubt_it_stays() -> None:
    family = [point("c", "b"), point("d", "b")]
    freed = decide_freed(family[0], family, chain(("c", "b"), ("d", "b"), removed=(("b", "c"),)), "")
    assert (freed.bytes, freed.needed_by) == (0, ("d",))


def test_through_a_removed_one_in_doubt_it_stays() -> None:
    family = [point("a"), point("c", "b")]
    known = chain(("a", "a"), ("c", "a"), removed=(("b", "c"),))
    assert decide_freed(family[0], family, known, "").needed_by == ("c",)


def test_a_running_one_pins_its_parent() -> None:
    family = [point("a"), point("b", "a", phase="Running")]
    assert decide_freed(family[0], family, None, "").needed_by == ("b",)


def test_retained_and_unfinished_ones_free_nothing() -> None:
    assert decide_freed(point("a"), [], None, "Retain").bytes == 0
    assert decide_freed(point("a", phase="Failed"), [], None, "").bytes == 0


DONE, DAY = datetime(2025, 10, 5, 12, tzinfo=UTC), timedelta(days=1)


@pytest.mark.parametrize(
    ("own", "days", "now", "until"),
    [
        ("", 0, DONE, None),
        ("2025-10-08T12:00:00Z", 0, DONE, DONE + 3 * DAY),
        ("2025-10-08T12:00:00Z", 0, DONE + 3 * DAY, None),
        ("2025-10-08T12:00:00Z", 7, DONE + 3 * DAY, DONE + 7 * DAY),
        ("rubbish", 7, DONE, DONE + 7 * DAY),
    ],
)
def test_until_when_one_is_immutable(own: str, days: int, now: datetime, until: datetime | None) -> None:
    one = point("a", completionTime="2025-10-05T12:00:00Z", retainedUntil=own)
    assert immutable_until(one, days, now) == until
    assert immutable_until(point("a", phase="Failed", retainedUntil=own), days, now) is None


def test_an_immutable_one_frees_nothing_and_says_until_when() -> None:
    freed = decide_freed(point("a"), [], None, "", DONE)
    assert (freed.bytes, freed.files) == (0, ())
    assert freed.message == "it is immutable until 2025-10-05T12:00:00Z: object and files stay until then"


def test_one_that_waits_in_its_deletion_still_needs_its_parent() -> None:
    waiting = point(
        "b", "a", phase="Deleting", completionTime="2025-10-05T12:00:00Z", retainedUntil="2030-01-01T00:00:00Z"
    )
    assert decide_freed(point("a"), [point("a"), waiting], None, "").needed_by == ("b",)
