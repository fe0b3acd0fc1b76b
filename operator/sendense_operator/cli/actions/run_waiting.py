"""`sendense wait`: shows Backups and Restores until they have ended."""

from __future__ import annotations

from collections.abc import Sequence

from sendense_operator.cli.actions.run_lookup import KINDS, find_runs
from sendense_operator.cli.session import Session
from sendense_operator.cli.waits import Patience, follow_runs


async def wait_for_runs(session: Session, references: Sequence[str], *, timeout_s: float) -> None:
    """Wait until what the references name has ended; the session's code tells whether all completed."""
    patience = Patience.of(timeout_s)
    meant = await find_runs(session, references, "waited for")
    by_kind = [(kind, [run.name for run in meant if run.kind is kind]) for kind in KINDS]
    ended = [run for kind, names in by_kind if names for run in await follow_runs(session, kind, names, patience)]
    session.put_out(*ended, single=True)
