"""Which restore points a policy keeps."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from sendense_operator.api.v1alpha1.base import Count, Model, rules
from sendense_operator.api.v1alpha1.cron_schedules import TimeZone

KeepCount = Annotated[int, Field(ge=1, le=1000)]
_KEEP_RULES = ("keepLast", "keepHourly", "keepDaily", "keepWeekly", "keepMonthly", "keepYearly", "keepWithin")


class Retention(Model):
    """How long restore points are kept: as long as one of the rules keeps them."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                " || ".join(f"has(self.{rule})" for rule in _KEEP_RULES),
                "retention: name at least one rule that keeps restore points, such as keepLast or keepDaily",
            ),
        )
    )

    keep_last: KeepCount | None = None
    """Keep the newest so many."""
    keep_hourly: KeepCount | None = None
    """Keep the newest of each of the last so many hours that have one."""
    keep_daily: KeepCount | None = None
    """Keep the newest of each of the last so many days that have one."""
    keep_weekly: KeepCount | None = None
    """Keep the newest of each of the last so many weeks (Monday to Sunday) that have one."""
    keep_monthly: KeepCount | None = None
    """Keep the newest of each of the last so many months that have one."""
    keep_yearly: KeepCount | None = None
    """Keep the newest of each of the last so many years that have one."""
    keep_within: (
        Annotated[
            str,
            Field(
                min_length=2,
                max_length=25,
                pattern=r"^([1-9][0-9]{0,3}y)?([1-9][0-9]{0,3}m)?([1-9][0-9]{0,3}w)?([1-9][0-9]{0,3}d)?([1-9][0-9]{0,3}h)?$",
            ),
        ]
        | None
    ) = None
    """Keep all that are at most so much older than the newest one: years, months, weeks, days and hours, such as
    1y6m, 30d or 36h."""
    time_zone: TimeZone = "UTC"
    """IANA time zone in which hours, days, weeks, months and years begin, such as Europe/Berlin."""
    minimum: KeepCount = 1
    """So many of the newest undamaged ones stay whatever the rules say."""
    include_manual: bool = False
    """Whether the rules also count and delete restore points that this policy did not create: Backups that were
    created by hand, by another policy, or for restore points found in the repository."""
    dry_run: bool = False
    """Delete nothing: the BackupChains' status lists what would be deleted."""


class RetentionSummary(Model):
    """Restore points that the rules apply to, of all VMs together."""

    restore_points: Count = 0
    """How many there are."""
    expired: Count = 0
    """How many of them no rule keeps; their Backups are being deleted, or the condition Retention says why not."""
