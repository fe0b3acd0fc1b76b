"""`sendense cancel`: stops Backups and Restores."""

from __future__ import annotations

from collections.abc import Sequence

from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.cli.actions.object_description import kind_named
from sendense_operator.cli.errors import CommandError, ExitCode, usage
from sendense_operator.cli.run_bars import has_ended
from sendense_operator.cli.session import Session
from sendense_operator.cli.waits import Patience, follow_runs
from sendense_operator.cluster.kinds import BACKUP, RESTORE, Kind
from sendense_operator.views.backup_view import part, text


async def cancel_runs(session: Session, references: Sequence[str], *, wait: bool, timeout_s: float) -> None:
    """Cancel what the references name: a Backup, else a Restore. Raises CommandError for one that has ended."""
    patience = Patience.of(timeout_s)
    meant = [await _find(session, reference) for reference in dict.fromkeys(references)]
    for kind, name in meant:
        changed = await session.change(kind, name, {"spec": {"cancel": True}})
        if not session.put_out(changed, single=True):
            session.screen.line(f"{kind.kind} {name} is being cancelled")
    session.code = ExitCode.DONE
    for kind in (BACKUP, RESTORE) if wait else ():
        if names := [name for one, name in meant if one is kind]:
            ended = await follow_runs(session, kind, names, patience)
            phases = {text(part(run, "status").get("phase")) for run in ended}
            session.code = ExitCode.DONE if phases == {Phase.CANCELLED} else ExitCode.FAILED


async def _find(session: Session, reference: str) -> tuple[Kind, str]:
    word, slash, name = reference.partition("/")
    kinds = [kind_named(word)] if slash else [BACKUP, RESTORE]
    if kinds[0] not in (BACKUP, RESTORE):
        raise usage(f"a {kinds[0].kind} can't be cancelled", "name a Backup or a Restore")
    for kind in kinds:
        found = await session.find(kind, name if slash else reference)
        if found is not None and has_ended(found):
            phase = text(part(found, "status").get("phase"))
            raise CommandError(
                f"{kind.kind} {reference} has ended already: {phase}", "`sendense delete` removes a Backup"
            )
        if found is not None:
            return kind, name if slash else reference
    raise CommandError(f"no Backup or Restore {reference} in namespace {session.namespace}", "`sendense list`")
