"""`sendense repo`: capacity and content of repositories; requests a scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sendense_operator.api.v1alpha1.names import ANNOTATION_SCAN
from sendense_operator.cli.actions.inventory_reports import (
    check_one_namespace,
    listed,
    problem_of,
    ready_cell,
    show_table,
)
from sendense_operator.cli.local_times import local, parse
from sendense_operator.cli.screen import Cell, Cells, Tone
from sendense_operator.cli.session import Session
from sendense_operator.cli.waits import Patience, wait_until
from sendense_operator.cluster.kinds import BACKUP_REPOSITORY
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import human_bytes
from sendense_operator.views.backup_view import number, part, text

_NOTED = {
    "lost": "completed Backups without a restore point",
    "damaged": "damaged restore points",
    "unreadable": "manifests that can't be read",
    "newer": "manifests of a newer format",
    "unknownFiles": "files that no manifest names",
    "waiting": "deleted restore points whose layers are needed",
}


async def show_repositories(session: Session, names: Sequence[str]) -> None:
    """Print the repositories, and what their last scans found that somebody should know."""
    found = await listed(session, BACKUP_REPOSITORY, names)
    if session.put_out(*found):
        return
    columns = ["NAME", "STATE", "FREE", "USED", "POINTS", "ACTIVE", "SCANNED"]
    show_table(session, found, columns, [_row(one) for one in found])
    for repository in found:
        name = text(part(repository, "metadata").get("name"))
        if problem := problem_of(repository):
            session.screen.line(Cell("!", Tone.BAD), f"{name}:", problem)
        catalogue = part(part(repository, "status"), "catalogue")
        for key, what in _NOTED.items():
            if count := number(catalogue.get(key)):
                session.screen.line(Cell("!", Tone.WARNING), f"{name}:", f"{what}: {count}")


def _row(repository: Obj) -> Cells:
    status = part(repository, "status")
    capacity, catalogue = part(status, "capacity"), part(status, "catalogue")
    total, free = number(capacity.get("totalBytes")), number(capacity.get("freeBytes"))
    return [
        text(part(repository, "metadata").get("name")),
        ready_cell(repository),
        f"{human_bytes(free)} of {human_bytes(total)}" if total else "-",
        f"{100 * (total - min(free, total)) // total}%" if total else "-",
        str(number(status.get("points"))),
        str(number(status.get("activeBackups"))),
        local(parse(catalogue.get("time"))),
    ]


async def scan_repositories(session: Session, names: Sequence[str], *, wait: bool, timeout_s: float) -> None:
    """Request a scan of each, and wait until it is complete if that is wanted. Raises CommandError."""
    check_one_namespace(session, "--scan")
    patience = Patience.of(timeout_s)
    found = await listed(session, BACKUP_REPOSITORY, names)
    request = session.now().isoformat(timespec="seconds")
    scanned = [text(part(one, "metadata").get("name")) for one in found]
    for name in scanned:
        await session.change(BACKUP_REPOSITORY, name, {"metadata": {"annotations": {ANNOTATION_SCAN: request}}})
        if session.for_people:
            session.screen.line(f"scan of {name} requested")

    def is_done(repository: Mapping[str, Any] | None) -> bool:
        return repository is None or part(part(repository, "status"), "catalogue").get("request") == request

    for name in scanned if wait else ():
        await wait_until(session, BACKUP_REPOSITORY, name, is_done, f"the scan of {name}", patience)
    if wait or not session.for_people:
        await show_repositories(session, names)
