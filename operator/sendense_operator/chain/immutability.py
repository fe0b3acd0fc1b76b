"""Until when restore points are immutable: neither removed, nor freed, nor merged, whoever requests it. Pure.

Each manifest has its own time since its commit, so a later edit of `spec.immutability` neither shortens nor loses it,
and a cluster that adopts the repository honours it. Longer days apply to earlier restore points, too, for as long as
the BackupRepository says so.

Two clocks must agree that a window is over: the API server's when the task was made, and that of the pod. Either one
that was set forward therefore frees nothing early; one that was set back only keeps longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Final

from sendense_operator.chain.freeable_layers import add_holder, dependencies
from sendense_operator.chain.immutable_window import later, retained_until
from sendense_operator.chain.layout import digests_of
from sendense_operator.chain.manifest import Manifest
from sendense_operator.task import Immutability

LONGEST_ATTEMPT: Final = timedelta(days=30)
"""Most time between the making of a task and the commit: the largest `spec.activeDeadlineSeconds`. By no more can a
pod's clock that is wrong lengthen a window."""


def until_of_commit(immutability: Immutability | None, elapsed: timedelta, clock: datetime) -> datetime | None:
    """Return the time for the manifest of a restore point that is about to be committed; None: it is not immutable.

    `elapsed`: time since the pod started, by a clock that nobody sets; `clock`: the pod's clock. The window begins at
    the commit: that is not before the task was made plus `elapsed`, and later if the pod had to wait for its start,
    which only its clock knows.
    """
    if immutability is None or immutability.days is None:
        return None
    earliest = immutability.now + elapsed
    committed = min(max(clock, earliest), earliest + LONGEST_ATTEMPT)
    return later(_whole_seconds(committed), immutability.days)


def is_retained(manifest: Manifest, now: datetime | None, days: int | None) -> bool:
    """Return whether a restore point is immutable. `now`: from `trusted_now`; None: every window counts as open."""
    until = retained_until(manifest.finished, manifest.retain_until, days)
    return until is not None and (now is None or now < until)


def retained_layers(manifests: Iterable[Manifest], rule: ImmutabilityRule) -> frozenset[str]:
    """Return the paths of the layers of all immutable restore points, without the layers below them."""
    return frozenset(disk.file for one in manifests if rule.retains(one) for disk in one.disks)


def needed_files(manifests: Iterable[Manifest], rule: ImmutabilityRule) -> frozenset[str]:
    """Return the paths of all layers and digest lists that immutable restore points need, those below included."""
    known = list(manifests)
    links = dependencies(known, {}, ())
    needed: dict[str, str] = {}
    for layer in retained_layers(known, rule):
        add_holder(layer, "", links, needed)
    return frozenset(name for layer in needed for name in (layer, str(digests_of(PurePosixPath(layer)))))


@dataclass(frozen=True)
class ImmutabilityRule:
    """What decides whether restore points are immutable."""

    now: datetime | None = None
    """From `trusted_now`; None: every window counts as open."""
    days: int | None = None
    """`spec.immutability.days` of the BackupRepository; None: only the manifests' own times count."""

    @classmethod
    def of(cls, immutability: Immutability | None) -> ImmutabilityRule:
        """Return the rule of a task, with the clock of this pod."""
        days = immutability.days if immutability is not None else None
        return cls(trusted_now(immutability, datetime.now(UTC)), days)

    def retains(self, manifest: Manifest) -> bool:
        """Return whether a restore point is immutable."""
        return is_retained(manifest, self.now, self.days)

    def until(self, manifest: Manifest) -> datetime | None:
        """Return until when a restore point is immutable; None: it is not, whatever the time."""
        return retained_until(manifest.finished, manifest.retain_until, self.days)


STRICT: Final = ImmutabilityRule()
"""The rule where the time is not known: what has a time in its manifest is immutable."""


def trusted_now(immutability: Immutability | None, clock: datetime) -> datetime | None:
    """Return the time that decides whether windows are over; None: not known. `clock`: the pod's clock."""
    return min(immutability.now, clock) if immutability is not None else None


def _whole_seconds(time: datetime) -> datetime:
    """Return the time rounded up, because the API server's times have whole seconds."""
    return time.replace(microsecond=0) + timedelta(seconds=bool(time.microsecond))
