"""Which restore points the rules of a retention keep. Pure.

Counted as restic counts: each rule on its own, from the newest point back, over periods that have a point; of each
period the newest point is kept. (Proxmox Backup Server counts alike, but leaves out periods that an earlier rule has
kept a point of already: with the same numbers it keeps as much, or more.) Ages are measured from the newest point and
not from now: when backups stop, nothing expires.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import MINYEAR, UTC, datetime, timedelta, tzinfo
from typing import Final

from sendense_operator.api.v1alpha1.backupchain import KeepRule

_AGE: Final = re.compile(r"^(?:(\d+)y)?(?:(\d+)m)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?$")


@dataclass(frozen=True)
class DatedPoint:
    """A restore point, as far as it matters here."""

    name: str
    time: datetime
    """When its content was taken."""
    usable: bool
    """Whether it can be restored: neither damaged nor lost."""


@dataclass(frozen=True)
class RetentionRules:
    """What keeps a restore point. At least one rule is there; `minimum` is at least 1."""

    counts: Mapping[KeepRule, int]
    """How many periods of each kind count."""
    within: str
    """Age such as 1y6m or 30d, empty for none."""
    minimum: int
    """So many of the newest usable points stay whatever the rules say."""
    zone: tzinfo
    """In which days, weeks, months and years begin."""


def rules_that_keep(points: Sequence[DatedPoint], rules: RetentionRules) -> dict[str, tuple[KeepRule, ...]]:
    """Return the rules that keep each point, none for one that is to go. `points`: oldest first.

    A point that can't be restored takes no other's place: the rules are counted over the usable ones alone. It stays
    as long as it would if it were usable, since some of its disks may be.
    """
    usable = [point for point in points if point.usable]
    by_name = _count(usable, rules)
    if len(usable) < len(points):
        with_all = _count(points, rules)
        by_name |= {point.name: with_all[point.name] for point in points if not point.usable}
    return by_name


def _count(points: Sequence[DatedPoint], rules: RetentionRules) -> dict[str, tuple[KeepRule, ...]]:
    newest_first = points[::-1]
    kept = {point.name: list[KeepRule]() for point in points}
    for rule, count in rules.counts.items():
        for point in _newest_of_periods(newest_first, _PERIODS[rule], rules.zone, count):
            kept[point.name].append(rule)
    if rules.within and points:
        begin = before(max(point.time for point in points), rules.within, rules.zone)
        for point in points:
            if point.time >= begin:
                kept[point.name].append(KeepRule.WITHIN)
    for point in newest_first[: rules.minimum]:
        if not kept[point.name]:
            kept[point.name].append(KeepRule.MINIMUM)
    return {name: tuple(found) for name, found in kept.items()}


_Period = Callable[[DatedPoint, datetime], Hashable]
"""The period that a point falls into; the second argument is its time in the zone."""

_PERIODS: Final[Mapping[KeepRule, _Period]] = {
    KeepRule.LAST: lambda point, _: point.name,
    # An hour that a night of change to standard time repeats counts twice: the offset tells the two apart.
    KeepRule.HOURLY: lambda _, at: (at.date(), at.hour, at.utcoffset()),
    KeepRule.DAILY: lambda _, at: at.date(),
    KeepRule.WEEKLY: lambda _, at: at.isocalendar()[:2],
    KeepRule.MONTHLY: lambda _, at: (at.year, at.month),
    KeepRule.YEARLY: lambda _, at: at.year,
}


def _newest_of_periods(
    newest_first: Sequence[DatedPoint], period_of: _Period, zone: tzinfo, count: int
) -> list[DatedPoint]:
    found: dict[Hashable, DatedPoint] = {}
    for point in newest_first:
        period = period_of(point, point.time.astimezone(zone))
        if period not in found and len(found) < count:
            found[period] = point
    return list(found.values())


def before(moment: datetime, age: str, zone: tzinfo) -> datetime:
    """Return the time (UTC) that lies `age` before a moment, by the calendar of the zone. Raises ValueError.

    `age`: numbers with y, m, w, d and h, in that order, such as 1y6m or 30d. Of a month that is too short the last day
    counts: one month before 31 March is 28 or 29 February.
    """
    match = _AGE.match(age)
    if match is None or not any(match.groups()):
        raise ValueError(f"age {age!r}: expected numbers with y, m, w, d and h in that order, such as 1y6m or 30d")
    years, months, weeks, days, hours = (int(number or 0) for number in match.groups())
    local = moment.astimezone(zone)
    count = local.year * 12 + local.month - 1 - 12 * years - months
    year, month = divmod(count, 12)
    if year < MINYEAR:
        return datetime.min.replace(tzinfo=UTC)
    day = min(local.day, calendar.monthrange(year, month + 1)[1])
    try:
        wall = local.replace(year=year, month=month + 1, day=day) - timedelta(weeks=weeks, days=days)
        return wall.astimezone(UTC) - timedelta(hours=hours)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
