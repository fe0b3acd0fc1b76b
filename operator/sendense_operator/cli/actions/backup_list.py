"""`sendense list`: Backups by the filters that REST's list has too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.api.v1alpha1.names import is_object_name
from sendense_operator.cli.local_times import local, parse
from sendense_operator.cli.screen import Cell, Cells, Tone, table
from sendense_operator.cli.session import Session
from sendense_operator.cluster.kinds import BACKUP
from sendense_operator.views.backup_view import part, text, type_of

Obj = Mapping[str, Any]
TONES: Final = {
    Phase.COMPLETED: Tone.GOOD,
    Phase.RUNNING: Tone.BUSY,
    Phase.PENDING: Tone.BUSY,
    Phase.FAILED: Tone.BAD,
    Phase.LOST: Tone.BAD,
    Phase.CANCELLED: Tone.WARNING,
    Phase.DELETING: Tone.WARNING,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which Backups; all that is not empty must fit."""

    vm: str = ""
    """Name of the ProtectedVM, or VMware's."""
    repository: str = ""
    type: str = ""
    """What ran, or was asked for: full or incremental."""
    phase: str = ""
    policy: str = ""
    labels: str = ""
    fields: str = ""
    """A field selector beside the others."""
    limit: int = 0
    """At most so many, the newest; 0: all."""

    @property
    def selector(self) -> str:
        """Return the field selector that the API server applies."""
        pairs = {
            "spec.vmRef.name": self.vm if is_object_name(self.vm) else "",
            "spec.repositoryRef.name": self.repository,
            "spec.policyRef.name": self.policy,
            "status.phase": self.phase,
        }
        return ",".join([*(f"{path}={value}" for path, value in pairs.items() if value), *filter(None, [self.fields])])

    def fits(self, backup: Obj) -> bool:
        """Return whether a Backup fits what no selector can say."""
        spec, status = part(backup, "spec"), part(backup, "status")
        named = is_object_name(self.vm) or self.vm in ("", text(status.get("vmName")))
        return named and self.type in ("", type_of(spec, status))


async def select_backups(session: Session, wanted: Wanted) -> list[Obj]:
    """Return the Backups that fit, the newest first. A VM may be named as in vCenter."""
    found: list[Obj] = [
        one for one in await session.list(BACKUP, labels=wanted.labels, fields=wanted.selector) if wanted.fits(one)
    ]
    if not found and wanted.vm and is_object_name(wanted.vm):
        # VMware's names may look like an object's name too
        everything = Wanted(**{**_filters(wanted), "vm": ""})
        found = [
            one
            for one in await session.list(BACKUP, labels=wanted.labels, fields=everything.selector)
            if everything.fits(one) and text(part(one, "status").get("vmName")) == wanted.vm
        ]
    found.sort(key=lambda one: text(part(one, "metadata").get("creationTimestamp")), reverse=True)
    return found[: wanted.limit] if wanted.limit else found


def _filters(wanted: Wanted) -> dict[str, Any]:
    return {name: getattr(wanted, name) for name in Wanted.__slots__}


async def show_backups(session: Session, wanted: Wanted) -> None:
    """Print the Backups that fit."""
    found = await select_backups(session, wanted)
    if session.put_out(*found):
        return
    if not found:
        session.screen.line("no Backup fits" if wanted != Wanted() else "no Backups")
        return
    columns = ["NAME", "VM", "TYPE", "PHASE", "DONE", "STORED", "CREATED"]
    rows = [_row(one) for one in found]
    if session.everywhere:
        columns = ["NAMESPACE", *columns]
        rows = [[text(part(one, "metadata").get("namespace")), *row] for one, row in zip(found, rows, strict=True)]
    session.screen.show(table(columns, rows, right=("STORED", "DONE")))


def _row(backup: Obj) -> Cells:
    meta, spec, status = part(backup, "metadata"), part(backup, "spec"), part(backup, "status")
    phase = text(status.get("phase")) or Phase.PENDING.value
    return [
        text(meta.get("name")),
        text(part(spec, "vmRef").get("name")),
        text(status.get("type")) or text(spec.get("type")),
        phase_cell(phase),
        text(part(status, "progress").get("summary")) or "-",
        text(status.get("stored")) or "-",
        local(parse(meta.get("creationTimestamp"))),
    ]


def phase_cell(phase: str) -> Cell:
    """Return the phase in its colour; one that this version does not know has none."""
    return Cell(phase, next((tone for known, tone in TONES.items() if known == phase), Tone.PLAIN))


def names_in(backups: Sequence[Obj]) -> list[str]:
    """Return the names."""
    return [text(part(one, "metadata").get("name")) for one in backups]
