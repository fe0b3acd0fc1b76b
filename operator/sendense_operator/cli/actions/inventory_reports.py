"""`sendense vms` and `discover`: what vCenter has, and what discovery made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sendense_operator.api.v1alpha1.conditions import READY, find, is_true
from sendense_operator.cli.errors import CommandError, usage
from sendense_operator.cli.local_times import local, parse
from sendense_operator.cli.screen import Cell, Cells, Tone, table
from sendense_operator.cli.session import Session
from sendense_operator.cluster.kinds import APPLIANCE, PROTECTED_VM, Kind
from sendense_operator.cluster.objects import Obj
from sendense_operator.views.backup_view import number, objects, part, reason_of, text


def ready_cell(obj: Mapping[str, Any]) -> Cell:
    """Return the reason of the Ready condition, in the colour of its state."""
    conditions = objects(part(obj, "status").get("conditions"))
    ready = find(conditions, READY)
    if ready is None:
        return Cell("not reconciled", Tone.WARNING)
    return Cell(text(ready.get("reason")), Tone.GOOD if is_true(conditions, READY) else Tone.BAD)


async def listed(session: Session, kind: Kind, names: Sequence[str]) -> list[Obj]:
    """Return the objects of these names, all if there are none. Raises CommandError for one that is missing."""
    found = await session.list(kind)
    known = {text(part(one, "metadata").get("name")): one for one in found}
    if session.code == 0 and (missing := [name for name in names if name not in known]):
        raise CommandError(f"no {kind.kind} {missing[0]} in namespace {session.namespace}", "choose another with -n")
    return [one for one in found if not names or text(part(one, "metadata").get("name")) in names]


def check_one_namespace(session: Session, option: str) -> None:
    """Raise CommandError for a change in all namespaces, or one that would be repeated. `option`: that asks for it."""
    if session.everywhere:
        raise usage(f"{option} is for one namespace", "choose it with -n")
    if session.watched:
        raise usage(f"{option} and --watch don't go together", "leave --watch out")


def show_table(session: Session, objs: Sequence[Obj], columns: list[str], rows: list[Cells]) -> None:
    """Print the rows, with the namespaces where several were asked for."""
    if session.everywhere:
        columns = ["NAMESPACE", *columns]
        rows = [[text(part(obj, "metadata").get("namespace")), *row] for obj, row in zip(objs, rows, strict=True)]
    session.screen.show(table(columns, rows))


async def show_vms(session: Session, names: Sequence[str]) -> None:
    """Print the ProtectedVMs."""
    found = await listed(session, PROTECTED_VM, names)
    if session.put_out(*found):
        return
    rows = [_vm_row(vm) for vm in found]
    show_table(session, found, ["NAME", "NAME IN VCENTER", "POWER", "DISKS", "SIZE", "STATE", "APPLIANCE"], rows)


def _vm_row(vm: Obj) -> Cells:
    status = part(vm, "status")
    state = Cell("Vanished", Tone.BAD) if status.get("vanishedTime") else ready_cell(vm)
    return [
        text(part(vm, "metadata").get("name")),
        text(status.get("vmName")) or "-",
        text(status.get("powerState")) or "-",
        str(len(objects(status.get("disks"))) or "-"),
        text(status.get("size")) or "-",
        state,
        text(part(part(vm, "spec"), "applianceRef").get("name")),
    ]


async def show_discovery(session: Session, names: Sequence[str]) -> None:
    """Print what the last discovery of each appliance found, and which ProtectedVMs a dry run would make."""
    found = await listed(session, APPLIANCE, names)
    if session.put_out(*found):
        return
    rows = [_discovery_row(one) for one in found]
    show_table(session, found, ["APPLIANCE", "STATE", "LAST", "VMS", "MATCHED", "MADE", "PENDING", "VANISHED"], rows)
    for appliance in found:
        discovery = part(part(appliance, "status"), "discovery")
        name = text(part(appliance, "metadata").get("name"))
        if not part(appliance, "spec").get("discovery"):
            session.screen.line(f"{name}: no discovery: set spec.discovery to make ProtectedVMs of vCenter's VMs")
        if message := text(discovery.get("message")):
            session.screen.line(f"{name}:", message)
        for planned in objects(discovery.get("planned")):
            session.screen.line(f"would make {text(planned.get('name'))}:", text(planned.get("path")), indent=2)


def _discovery_row(appliance: Obj) -> Cells:
    discovery = part(part(appliance, "status"), "discovery")
    counts = [str(number(discovery.get(key))) for key in ("vms", "matched", "created", "pending", "vanished")]
    name = text(part(appliance, "metadata").get("name"))
    return [name, ready_cell(appliance), local(parse(discovery.get("lastTime"))), *counts]


def problem_of(obj: Mapping[str, Any]) -> str:
    """Return why the object is not Ready; empty when it is."""
    status = part(obj, "status")
    ready = is_true(objects(status.get("conditions")), READY)
    return "" if ready else reason_of(status) or "the operator has not reconciled it: is it running?"
