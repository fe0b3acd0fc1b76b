"""Backups and Restores by what users call them: a name, or a kind and a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sendense_operator.cli.actions.object_description import kind_named
from sendense_operator.cli.errors import CommandError, usage
from sendense_operator.cli.session import Session
from sendense_operator.cluster.kinds import BACKUP, RESTORE, Kind

KINDS: Final = (BACKUP, RESTORE)


class Run(NamedTuple):
    """A Backup or a Restore as it is now."""

    kind: Kind
    name: str
    object: Mapping[str, Any]


async def find_runs(session: Session, references: Sequence[str], done_to_it: str) -> list[Run]:
    """Return what the references name, each once: a Backup, else a Restore.

    `done_to_it`: participle for the error about another kind, such as `cancelled`. Raises CommandError.
    """
    return [await _find(session, reference, done_to_it) for reference in dict.fromkeys(references)]


async def _find(session: Session, reference: str, done_to_it: str) -> Run:
    word, slash, rest = reference.partition("/")
    kinds, name = ([kind_named(word)], rest) if slash else (KINDS, reference)
    if kinds[0] not in KINDS:
        raise usage(f"a {kinds[0].kind} can't be {done_to_it}", "name a Backup or a Restore")
    for kind in kinds:
        found = await session.find(kind, name)
        if found is not None:
            return Run(kind, name, found)
    raise CommandError(f"no Backup or Restore {reference} in namespace {session.namespace}", "`sendense list`")
