"""`sendense logs`: what the pods of a Backup or a Restore wrote."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

from sendense_operator.api.v1alpha1.names import LABEL_BACKUP, LABEL_RESTORE, WORKER_CONTAINER
from sendense_operator.cli.errors import CommandError
from sendense_operator.cli.local_times import local, parse
from sendense_operator.cli.screen import Cell, Tone
from sendense_operator.cli.session import Session
from sendense_operator.cluster.errors import ForbiddenError, InvalidError, NotFoundError
from sendense_operator.cluster.kinds import POD
from sendense_operator.cluster.objects import Obj
from sendense_operator.views.backup_view import part, text

_POLL_S: Final = 2.0
_KNOWN: Final = frozenset({"time", "level", "logger", "program", "backup", "event"})
_TONES: Final = {"WARNING": Tone.WARNING, "ERROR": Tone.BAD, "CRITICAL": Tone.BAD}


async def show_logs(session: Session, name: str, *, raw: bool, follow: bool) -> None:
    """Print the logs of the pods, the oldest first. `follow`: until the last pod has ended.

    Raises CommandError where there is no pod any more: they are removed some time after the end.
    """
    printed: dict[str, int] = {}
    while True:
        pods = await _pods(session, name)
        for pod in pods:
            await _show(session, pod, printed, raw=raw)
        if not follow or all(text(part(pod, "status").get("phase")) in ("Succeeded", "Failed") for pod in pods):
            return
        await asyncio.sleep(_POLL_S)


async def _pods(session: Session, name: str) -> list[Obj]:
    for label in (LABEL_BACKUP, LABEL_RESTORE):
        found = await session.list(POD, labels=f"{label}={name}")
        if found:
            return sorted(found, key=lambda pod: text(part(pod, "metadata").get("creationTimestamp")))
    if session.code != 0:
        raise CommandError(f"the pods of {name} can't be listed", "`sendense describe` shows what became of it")
    raise CommandError(
        f"{name} has no pod: not yet, or not any more", "`sendense describe` shows why it waits or what became of it"
    )


async def _show(session: Session, pod: Obj, printed: dict[str, int], *, raw: bool) -> None:
    pod_name = text(part(pod, "metadata").get("name"))
    try:
        lines = await session.cluster.read_log(session.namespace, pod_name, WORKER_CONTAINER)
    except ForbiddenError as error:
        raise CommandError(
            f"you may not get pods/log in namespace {session.namespace}", "ask its admin for the verb get on pods/log"
        ) from error
    except (NotFoundError, InvalidError):
        return  # the pod ended meanwhile, or its container has not started
    whole = [line for line in lines if line]
    for line in whole[printed.get(pod_name, 0) :]:
        session.screen.line(line) if raw else _show_record(session, line)
    printed[pod_name] = len(whole)


def _show_record(session: Session, line: str) -> None:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, Mapping) or "event" not in record:
        session.screen.line(line)
        return
    level = text(record.get("level"))
    fields = " ".join(f"{key}={_value(value)}" for key, value in record.items() if key not in _KNOWN)
    when = Cell(_time(record), Tone.FAINT)
    session.screen.line(when, Cell(level, _TONES.get(level, Tone.PLAIN)), text(record.get("event")), fields)


def _time(record: Mapping[str, Any]) -> str:
    moment = parse(record.get("time"))
    return f"{moment.astimezone():%H:%M:%S}" if moment else local(None)


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
