"""`sendense delete`: says what becomes free and what stays, asks, deletes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sendense_operator.cli.errors import CommandError, ExitCode
from sendense_operator.cli.screen import Tone
from sendense_operator.cli.session import Session
from sendense_operator.cli.waits import Patience, uid_of, wait_until
from sendense_operator.cluster.kinds import BACKUP, BACKUP_CHAIN, BACKUP_REPOSITORY
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import human_bytes
from sendense_operator.views.backup_view import part, text
from sendense_operator.views.cached_objects import CachedBackup, CachedChain
from sendense_operator.views.freeing_preview import Freed, decide_freed


async def delete_backups(session: Session, names: Sequence[str], *, sure: bool, wait: bool, timeout_s: float) -> None:
    """Delete Backups once the user agrees. Raises CommandError, among others when the answer is no."""
    patience = Patience.of(timeout_s)
    backups = [await session.get(BACKUP, name) for name in dict.fromkeys(names)]
    for backup in backups:
        _say(session, backup, await _preview(session, backup))
    if not sure and not session.screen.ask(f"delete {', '.join(names)}?"):
        raise CommandError("nothing was deleted", "answer y, or give --yes")
    for backup in backups:
        name = text(part(backup, "metadata").get("name"))
        await session.delete(BACKUP, name, uid_of(backup) or None)
        if session.for_people:
            session.screen.line(f"Backup {name} is being deleted")
    # what could not be previewed was deleted all the same
    session.code = ExitCode.DONE
    session.put_out(*backups, single=True)
    if wait:
        await _wait_gone(session, backups, patience)


async def _wait_gone(session: Session, backups: Sequence[Obj], patience: Patience) -> None:
    for backup in backups:
        name, uid = text(part(backup, "metadata").get("name")), uid_of(backup)

        def is_gone(found: Mapping[str, Any] | None, uid: str = uid) -> bool:
            return found is None or uid_of(found) != uid

        await wait_until(session, BACKUP, name, is_gone, f"the deletion of {name}", patience)


async def _preview(session: Session, backup: Obj) -> Freed | None:
    """Return what deleting it frees; None where the user may not see what would tell."""
    record = CachedBackup.from_object(backup)
    of_vm = f"spec.vmRef.name={record.vm},spec.repositoryRef.name={record.repository}"
    family = await session.list(BACKUP, fields=of_vm)
    chains = await session.list(BACKUP_CHAIN, fields=of_vm)
    repository = await session.find(BACKUP_REPOSITORY, record.repository)
    if session.code is not ExitCode.DONE:
        return None
    policy = text(part(repository or {}, "spec").get("deletionPolicy"))
    chain = CachedChain.from_object(chains[0]) if chains else None
    return decide_freed(record, [CachedBackup.from_object(one) for one in family], chain, policy)


def _say(session: Session, backup: Obj, freed: Freed | None) -> None:
    name = text(part(backup, "metadata").get("name"))
    if freed is None:
        session.screen.note(f"{name}: what becomes free can't be seen with your rights")
        return
    size = f"frees {human_bytes(freed.bytes)}" if freed.bytes else "frees nothing now"
    session.screen.note(f"{name}: {size}: {freed.message}", Tone.PLAIN if freed.bytes else Tone.WARNING)
    for file in freed.files:
        session.screen.note(f"- {file}", Tone.FAINT)
