"""Waiting for objects: with a deadline, and without harm to what goes on when the user has enough."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sendense_operator.cli.errors import CommandError, ExitCode
from sendense_operator.cli.run_bars import has_completed, has_ended
from sendense_operator.cli.run_display import RunDisplay
from sendense_operator.cli.session import Session
from sendense_operator.cluster.errors import NotFoundError, UnavailableError
from sendense_operator.cluster.kinds import Kind
from sendense_operator.formatting import human_list
from sendense_operator.views.backup_view import part, text

Obj = Mapping[str, Any]
POLL_S: Final = 1.0
"""Seconds between two reads. A watch would need one more right of the user."""


@dataclass(frozen=True)
class Patience:
    """How long to wait. `seconds` 0: for ever."""

    seconds: float
    started: float

    @classmethod
    def of(cls, seconds: float) -> Patience:
        """Begin now."""
        return cls(seconds, time.monotonic())

    def check(self, what: str, hint: str) -> None:
        """Raise CommandError with the code of a time-out when the time is up."""
        if self.seconds and time.monotonic() - self.started >= self.seconds:
            raise CommandError(f"{what} after {self.seconds:g} s", hint, ExitCode.TIMED_OUT)


async def follow_runs(
    session: Session,
    kind: Kind,
    names: Sequence[str],
    patience: Patience,
    is_over: Callable[[Obj], bool] = has_ended,
) -> list[Obj]:
    """Show Backups or Restores until all have ended; these. The session's code tells whether all completed.

    is_over: when there is nothing more to wait for. Raises CommandError when the time is up, and when one is deleted
    meanwhile.
    """
    goes_on = f"{kind.kind} {human_list(names)} goes on; `sendense cancel` stops it, `sendense describe` shows it"
    runs: dict[str, Obj] = {}
    try:
        with RunDisplay(session.screen) as display:
            while rest := [name for name in names if name not in runs or not is_over(runs[name])]:
                if runs:
                    patience.check(f"{kind.kind} {human_list(rest)} has not ended", goes_on)
                    await asyncio.sleep(POLL_S)
                for name in rest:
                    runs[name] = await _read(session, kind, name, runs.get(name))
                _show(session, display, list(runs.values()))
    except asyncio.CancelledError:
        session.screen.note(f"stopped waiting: {goes_on}")
        raise
    if any(has_ended(run) and not has_completed(run) for run in runs.values()):
        session.code = ExitCode.FAILED
    return list(runs.values())


def _show(session: Session, display: RunDisplay, runs: Sequence[Obj]) -> None:
    """Draw the progress, unless a program reads the output."""
    if session.for_people:
        display.show(runs)


async def _read(session: Session, kind: Kind, name: str, before: Obj | None) -> Obj:
    """Return the object now; as it was before while the API server is away."""
    try:
        found = await session.cluster.get(kind, session.namespace, name)
    except UnavailableError:
        if before is None:
            raise
        return before
    except NotFoundError as error:
        raise CommandError(
            f"{kind.kind} {name} was deleted meanwhile", "`sendense list` shows what there is"
        ) from error
    if before is not None and part(found, "metadata").get("uid") != part(before, "metadata").get("uid"):
        raise CommandError(f"{kind.kind} {name} is another one meanwhile", "`sendense list` shows what there is")
    return found


async def wait_until(
    session: Session, kind: Kind, name: str, done: Callable[[Obj | None], bool], what: str, patience: Patience
) -> Obj | None:
    """Return the object once `done` says so of it, or of None when it is gone.

    what: what is waited for, as in `the scan of store`. Raises CommandError when the time is up.
    """
    hint = f"it goes on; `sendense describe {kind.kind.lower()}/{name}` shows it"
    last: Obj | None = None
    try:
        while True:
            try:
                last = await session.cluster.get(kind, session.namespace, name)
            except NotFoundError:
                last = None
            except UnavailableError:
                pass
            if done(last):
                return last
            patience.check(f"{what} has not ended", hint)
            await asyncio.sleep(POLL_S)
    except asyncio.CancelledError:
        session.screen.note(f"stopped waiting for {what}: {hint}")
        raise


def uid_of(obj: Obj) -> str:
    """Return the object's UID."""
    return text(part(obj, "metadata").get("uid"))
