"""A running Backup or Restore as bars: one for the whole, one per disk. Pure and total."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.api.v1alpha1.conditions import TERMINAL_PHASES
from sendense_operator.formatting import human_bytes
from sendense_operator.views.backup_view import number, objects, part, reason_of, text

Obj = Mapping[str, Any]
_ENDS: Final = frozenset(phase.value for phase in TERMINAL_PHASES)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar."""

    label: str
    percent: int
    """0 to 100."""
    size: str
    """How much is done, of how much."""
    rate: str
    eta: str
    is_disk: bool


def bars_of(run: Obj) -> list[Bar]:
    """Return the bar of the whole, then those of the disks in their order."""
    status = part(run, "status")
    progress, disks = part(status, "progress"), objects(status.get("disks"))
    total = number(progress.get("totalBytes")) or sum(number(disk.get("virtualSize")) for disk in disks)
    whole = Bar(
        label=text(part(run, "metadata").get("name")),
        percent=_percent(progress),
        size=_size(_done(progress), total),
        rate=text(progress.get("rate")),
        eta=text(progress.get("eta")),
        is_disk=False,
    )
    return [whole, *(_disk(disk) for disk in sorted(disks, key=_index))]


def _disk(disk: Obj) -> Bar:
    return Bar(
        label=f"disk {_index(disk)}",
        percent=_percent(disk),
        size=_size(_done(disk), number(disk.get("virtualSize"))),
        rate=text(disk.get("rate")),
        eta=text(disk.get("eta")),
        is_disk=True,
    )


def _index(disk: Obj) -> int:
    return number(disk.get("id") if "id" in disk else disk.get("index"))


def _percent(progress: Obj) -> int:
    return min(100, number(progress.get("percent")))


def _done(progress: Obj) -> int:
    return number(progress.get("bytesTransferred")) or number(progress.get("processedBytes"))


def _size(done: int, total: int) -> str:
    return f"{human_bytes(done)} of {human_bytes(total)}" if total else ""


def state_of_run(run: Obj) -> str:
    """Return what it does now in a word: the stage of a running one, else the phase."""
    status = part(run, "status")
    phase = text(status.get("phase")) or Phase.PENDING.value
    return text(status.get("stage")) or phase if phase == Phase.RUNNING else phase


def has_ended(run: Obj) -> bool:
    """Return whether nothing will happen to it any more by itself."""
    return text(part(run, "status").get("phase")) in _ENDS


def has_completed(run: Obj) -> bool:
    """Return whether it did what it was for."""
    return text(part(run, "status").get("phase")) == Phase.COMPLETED


def described(run: Obj) -> str:
    """Return the state, and why where that is what matters: while it waits, and when it failed."""
    state = state_of_run(run)
    waits_or_failed = state == Phase.PENDING or (has_ended(run) and not has_completed(run))
    why = reason_of(part(run, "status")) if waits_or_failed else ""
    return f"{state}: {why}" if why and why != state else state


def line_of(run: Obj) -> str:
    """Return all of it in one line, for logs: it differs when something of note did."""
    status, facts = part(run, "status"), [described(run)]
    if has_completed(run):
        facts += [one for one in (text(status.get("duration")), text(status.get("stored"))) if one]
    elif text(status.get("phase")) == Phase.RUNNING:
        facts.append(f"{bars_of(run)[0].percent // 10 * 10}%")
    return f"{text(part(run, 'metadata').get('name'))}: {' '.join(facts)}"
