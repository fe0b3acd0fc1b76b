"""`sendense status`: am I protected? Problems first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sendense_operator.api.v1alpha1.conditions import READY, is_true
from sendense_operator.cli.errors import CommandError
from sendense_operator.cli.local_times import age, ahead, local
from sendense_operator.cli.object_output import Format, document
from sendense_operator.cli.protection_status import Level, Protection, decide_protection
from sendense_operator.cli.screen import Cell, Tone, table
from sendense_operator.cli.session import Session
from sendense_operator.cluster.kinds import (
    APPLIANCE,
    BACKUP,
    BACKUP_CHAIN,
    BACKUP_POLICY,
    BACKUP_REPOSITORY,
    PROTECTED_VM,
)
from sendense_operator.formatting import human_count
from sendense_operator.views.backup_view import objects, part, reason_of, text

Obj = Mapping[str, Any]
_TONES = {Level.PROBLEM: Tone.BAD, Level.WARNING: Tone.WARNING, Level.FINE: Tone.GOOD}


async def show_status(session: Session, wanted: Sequence[str]) -> None:
    """Print the protection of these VMs; of all if none is named. Raises CommandError for a VM that is not there."""
    vms = await session.list(PROTECTED_VM)
    _check_known(vms, wanted, refused=session.code != 0)
    failed = await session.list(BACKUP, fields="status.phase=Failed")
    running = await session.list(BACKUP, fields="status.phase=Running")
    chains = await session.list(BACKUP_CHAIN)
    others = [obj for kind in (APPLIANCE, BACKUP_REPOSITORY, BACKUP_POLICY) for obj in await session.list(kind)]
    rows = decide_protection((vm for vm in vms if not wanted or _name(vm) in wanted), failed, running, chains)
    if session.form is not Format.TABLE:
        _put_out(session, rows)
        return
    _show_summary(session, rows, len(running))
    _show_problems(session, rows, [] if wanted else others)
    _show_rows(session, rows)


def _name(obj: Obj) -> str:
    return text(part(obj, "metadata").get("name"))


def _check_known(vms: Sequence[Obj], wanted: Sequence[str], *, refused: bool) -> None:
    missing = set(wanted) - {_name(vm) for vm in vms}
    if missing and not refused:
        raise CommandError(f"no ProtectedVM {min(missing)}", "`sendense vms` lists those that there are")


def _show_summary(session: Session, rows: Sequence[Protection], running: int) -> None:
    counts = {level: sum(row.level is level for row in rows) for level in Level}
    words = [
        Cell(f"{counts[Level.PROBLEM]} with problems", Tone.BAD) if counts[Level.PROBLEM] else "",
        Cell(f"{human_count(counts[Level.WARNING], 'warning')}", Tone.WARNING) if counts[Level.WARNING] else "",
        Cell(f"{counts[Level.FINE]} fine", Tone.GOOD) if counts[Level.FINE] else "",
        Cell(f"{human_count(running, 'backup')} running", Tone.BUSY) if running else "",
    ]
    session.screen.line(f"{human_count(len(rows), 'VM')}:", *words)


def _show_problems(session: Session, rows: Sequence[Protection], others: Sequence[Obj]) -> None:
    for obj in others:
        status = part(obj, "status")
        if not is_true(objects(status.get("conditions")), READY):
            kind = text(obj.get("kind"))
            session.screen.line(Cell("!", Tone.BAD), f"{kind} {_name(obj)}:", reason_of(status) or "not reconciled yet")
    for row in rows:
        if row.detail:
            session.screen.line(Cell("!", _TONES[row.level]), f"{row.vm}:", f"{row.state}: {row.detail}")


def _show_rows(session: Session, rows: Sequence[Protection]) -> None:
    now = session.now()
    columns = ["VM", "STATE", "NEWEST POINT", "AGE", "NEXT", "POLICY"]
    if not rows:
        return
    lines: list[list[Cell | str]] = [
        [
            row.vm,
            Cell(row.state + (f" ({row.running})" if row.running else ""), _TONES[row.level]),
            local(row.newest),
            age(row.newest, now),
            ahead(row.next_run, now),
            row.policy or "-",
        ]
        for row in rows
    ]
    if session.everywhere:
        columns = ["NAMESPACE", *columns]
        lines = [[row.namespace, *line] for row, line in zip(rows, lines, strict=True)]
    session.screen.line("")
    session.screen.show(table(columns, lines))


def _put_out(session: Session, rows: Sequence[Protection]) -> None:
    if session.form is Format.NAME:
        session.screen.raw("\n".join(f"protectedvm.{PROTECTED_VM.api_version.split('/')[0]}/{row.vm}" for row in rows))
        return
    session.screen.raw(document([_json(row) for row in rows], session.form))


def _json(row: Protection) -> dict[str, Any]:
    return {
        "namespace": row.namespace,
        "vm": row.vm,
        "level": row.level.name.capitalize(),
        "state": row.state,
        "detail": row.detail,
        "newestTime": row.newest.isoformat() if row.newest else None,
        "nextTime": row.next_run.isoformat() if row.next_run else None,
        "policy": row.policy or None,
    }
