"""`sendense describe`: one object with its conditions, disks and Events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sendense_operator.cli.errors import CommandError, usage
from sendense_operator.cli.local_times import local, parse
from sendense_operator.cli.printer_columns import BY_KIND, facts_of
from sendense_operator.cli.screen import Cell, Cells, Tone, table
from sendense_operator.cli.session import Session
from sendense_operator.cluster.kinds import (
    APPLIANCE,
    BACKUP,
    BACKUP_CHAIN,
    BACKUP_POLICY,
    BACKUP_REPOSITORY,
    EVENT,
    PROTECTED_VM,
    RESTORE,
    Kind,
)
from sendense_operator.formatting import human_bytes
from sendense_operator.object_key import ObjectKey
from sendense_operator.views.backup_view import number, objects, part, text

Obj = Mapping[str, Any]
KINDS: Final = (BACKUP, RESTORE, PROTECTED_VM, BACKUP_CHAIN, BACKUP_POLICY, BACKUP_REPOSITORY, APPLIANCE)
"""In the order in which a name without a kind is looked up."""
_EVENTS: Final = 20
_NORMAL: Final = "Normal"


def kind_named(word: str) -> Kind:
    """Return the kind of that name, plural or short name. Raises CommandError for others."""
    wanted = word.lower()
    for kind in KINDS:
        if wanted in (kind.kind.lower(), kind.plural, BY_KIND[kind.kind].short_name):
            return kind
    raise usage(f"there is no kind {word}", f"one of: {', '.join(kind.plural for kind in KINDS)}")


async def find_object(session: Session, reference: str) -> Obj:
    """Return the object of `NAME` or `KIND/NAME`. Raises CommandError when there is none."""
    word, slash, name = reference.partition("/")
    if slash:
        return await session.get(kind_named(word), name)
    for kind in KINDS:
        if (found := await session.find(kind, reference)) is not None:
            return found
    raise CommandError(f"nothing is called {reference} in namespace {session.namespace}", "`sendense list -A`")


async def describe(session: Session, references: Sequence[str]) -> None:
    """Print each object."""
    found = [await find_object(session, reference) for reference in references]
    if session.put_out(*found, single=True):
        return
    for place, obj in enumerate(found):
        if place:
            session.screen.line("")
        await _describe(session, obj)


async def _describe(session: Session, obj: Obj) -> None:
    meta, status = part(obj, "metadata"), part(obj, "status")
    session.screen.line(text(obj.get("kind")), str(ObjectKey(text(meta.get("namespace")), text(meta.get("name")))))
    session.screen.show(table(["", ""], [[name, value] for name, value in facts_of(obj)]))
    _show_conditions(session, objects(status.get("conditions")))
    disks = objects(status.get("disks"))
    if disks:
        session.screen.line("")
        session.screen.show(table(*_disk_table(disks)))
    await _show_events(session, obj)


def _show_conditions(session: Session, conditions: Sequence[Obj]) -> None:
    for condition in conditions:
        session.screen.line("")
        state = f"{text(condition.get('type'))}={text(condition.get('status'))}"
        since = f"since {local(parse(condition.get('lastTransitionTime')))}"
        session.screen.line(Cell(state, _tone(condition)), text(condition.get("reason")), Cell(since, Tone.FAINT))
        if message := text(condition.get("message")):
            session.screen.line(message, indent=2)


def _tone(condition: Obj) -> Tone:
    """Conditions of these types are abnormal while they are true."""
    abnormal = condition.get("type") in ("Stalled", "Damaged")
    if condition.get("type") == "Reconciling":
        return Tone.BUSY
    fine = (condition.get("status") == "True") is not abnormal
    return Tone.GOOD if fine else Tone.BAD if condition.get("status") != "Unknown" else Tone.WARNING


def _disk_table(disks: Sequence[Obj]) -> tuple[list[str], list[Cells]]:
    columns = ["DISK", "TYPE", "SIZE", "DONE", "STORED", "DEPTH", "PARENT OR CLAIM"]
    rows: list[Cells] = []
    for disk in disks:
        index = disk.get("id") if "id" in disk else disk.get("index")
        rows.append(
            [
                str(number(index)),
                text(disk.get("type")) or "-",
                human_bytes(number(disk.get("virtualSize"))),
                f"{number(disk.get('percent'))}%" if "percent" in disk else "-",
                human_bytes(number(disk.get("storedBytes"))) if "storedBytes" in disk else "-",
                str(number(disk.get("depth")) or "-"),
                text(disk.get("parent")) or text(disk.get("claimName")) or text(disk.get("uri")) or "-",
            ]
        )
    return columns, rows


async def _show_events(session: Session, obj: Obj) -> None:
    meta = part(obj, "metadata")
    fields = f"involvedObject.name={text(meta.get('name'))},involvedObject.kind={text(obj.get('kind'))}"
    events = await session.list(EVENT, fields=fields)
    events.sort(key=lambda one: text(one.get("lastTimestamp")) or text(one.get("eventTime")))
    if not events:
        return
    session.screen.line("")
    session.screen.line("Events")
    for event in events[-_EVENTS:]:
        tone = Tone.PLAIN if event.get("type") == _NORMAL else Tone.WARNING
        when = local(parse(event.get("lastTimestamp")) or parse(event.get("eventTime")))
        times = f"({number(event.get('count'))} times)" if number(event.get("count")) > 1 else ""
        session.screen.line(when, Cell(text(event.get("reason")), tone), text(event.get("message")), times, indent=2)
