"""`sendense cancel`: stops Backups and Restores."""

from __future__ import annotations

from collections.abc import Sequence

from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.cli.actions.run_lookup import KINDS, find_runs
from sendense_operator.cli.errors import CommandError, ExitCode
from sendense_operator.cli.run_bars import has_ended
from sendense_operator.cli.session import Session
from sendense_operator.cli.waits import Patience, follow_runs
from sendense_operator.views.backup_view import part, text


async def cancel_runs(session: Session, references: Sequence[str], *, wait: bool, timeout_s: float) -> None:
    """Cancel what the references name: a Backup, else a Restore. Raises CommandError for one that has ended."""
    patience = Patience.of(timeout_s)
    meant = await find_runs(session, references, "cancelled")
    for run in meant:
        if has_ended(run.object):
            phase = text(part(run.object, "status").get("phase"))
            raise CommandError(
                f"{run.kind.kind} {run.name} has ended already: {phase}", "`sendense delete` removes a Backup"
            )
    for run in meant:
        changed = await session.change(run.kind, run.name, {"spec": {"cancel": True}})
        if not session.put_out(changed, single=True):
            session.screen.line(f"{run.kind.kind} {run.name} is being cancelled")
    session.code = ExitCode.DONE
    for kind in KINDS if wait else ():
        if names := [run.name for run in meant if run.kind is kind]:
            ended = await follow_runs(session, kind, names, patience)
            phases = {text(part(run, "status").get("phase")) for run in ended}
            session.code = ExitCode.DONE if phases == {Phase.CANCELLED} else ExitCode.FAILED
