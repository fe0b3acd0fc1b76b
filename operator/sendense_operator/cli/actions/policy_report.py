"""`sendense policy`: the next runs, and what retention keeps; starts a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sendense_operator.api.v1alpha1.names import ANNOTATION_RUN
from sendense_operator.cli.actions.inventory_reports import (
    check_one_namespace,
    listed,
    problem_of,
    ready_cell,
    show_table,
)
from sendense_operator.cli.errors import usage
from sendense_operator.cli.local_times import ahead, local, parse
from sendense_operator.cli.screen import Cell, Cells, Tone, table
from sendense_operator.cli.session import Session
from sendense_operator.cluster.kinds import BACKUP_CHAIN, BACKUP_POLICY
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import human_bytes
from sendense_operator.views.backup_view import number, objects, part, text


async def show_policies(session: Session, names: Sequence[str]) -> None:
    """Print the policies; of those that are named also each schedule and each restore point that no rule keeps."""
    found = await listed(session, BACKUP_POLICY, names)
    if session.put_out(*found):
        return
    show_table(session, found, ["NAME", "STATE", "VMS", "WITHIN", "NEXT", "EXPIRED"], [_row(one) for one in found])
    for policy in found:
        if problem := problem_of(policy):
            session.screen.line(Cell("!", Tone.BAD), f"{text(part(policy, 'metadata').get('name'))}:", problem)
    if names:
        chains = await session.list(BACKUP_CHAIN)
        for policy in found:
            _show_schedules(session, policy)
            _show_expired(session, policy, chains)


def _row(policy: Obj) -> Cells:
    spec, status = part(policy, "spec"), part(policy, "status")
    retention = part(status, "retention")
    next_run = "suspended" if spec.get("suspend") is True else local(parse(status.get("nextTime")))
    of_all = f"{number(retention.get('expired'))} of {number(retention.get('restorePoints'))}" if retention else "-"
    return [
        text(part(policy, "metadata").get("name")),
        ready_cell(policy),
        str(number(status.get("vms"))),
        text(part(status, "objective").get("summary")) or "-",
        next_run,
        of_all,
    ]


def _show_schedules(session: Session, policy: Obj) -> None:
    now = session.now()
    state = {text(one.get("name")): one for one in objects(part(policy, "status").get("schedules"))}
    rows: list[Cells] = []
    for schedule in objects(part(policy, "spec").get("schedules")):
        known = state.get(text(schedule.get("name")), {})
        following = parse(known.get("nextTime"))
        when = "suspended" if known.get("suspended") is True else f"{local(following)} ({ahead(following, now)})"
        cron = f"{text(schedule.get('cron'))} {text(schedule.get('timeZone')) or 'UTC'}"
        rows.append([text(schedule.get("name")), cron, local(parse(known.get("slot"))), when])
    session.screen.line("")
    if rows:
        session.screen.show(table(["SCHEDULE", "CRON", "LAST", "NEXT"], rows))
    else:
        session.screen.line("no schedule: it runs on request, by `sendense policy NAME --run`")


def _show_expired(session: Session, policy: Obj, chains: Sequence[Mapping[str, Any]]) -> None:
    """Print the restore points that are deleted next, or would be if nothing held them."""
    meta, rows = part(policy, "metadata"), list[Cells]()
    for chain in chains:
        place = part(chain, "metadata").get("namespace"), part(chain, "status").get("policy")
        if place != (meta.get("namespace"), meta.get("name")):
            continue
        for point in objects(part(chain, "status").get("restorePoints")):
            if point.get("expiredSince"):
                held = text(point.get("heldBy"))
                size = human_bytes(number(point.get("storedBytes")))
                why = Cell(f"held by {held}" if held else "is being deleted", Tone.WARNING)
                rows.append([text(point.get("backup")), local(parse(point.get("time"))), size, why])
    session.screen.line("")
    if rows:
        session.screen.show(table(["NO RULE KEEPS", "TIME", "STORED", ""], rows))
    elif part(policy, "spec").get("retention"):
        session.screen.line("each restore point is kept by a rule of its retention")
    else:
        session.screen.line("no retention: all restore points stay")


async def run_policies(session: Session, names: Sequence[str]) -> None:
    """Request a Backup of each VM of these policies now. Raises CommandError."""
    check_one_namespace(session, "--run")
    if not names:
        raise usage("--run needs the name of a policy", "`sendense policy` lists them")
    request = session.now().isoformat(timespec="seconds")
    for name in names:
        changed = await session.change(BACKUP_POLICY, name, {"metadata": {"annotations": {ANNOTATION_RUN: request}}})
        if not session.put_out(changed, single=True):
            session.screen.line(f"run of {name} requested: `sendense list --policy {name}` shows its Backups")
