"""`sendense verify`: requests that restore points be read completely, by the operator's annotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sendense_operator.api.v1alpha1.conditions import VERIFIED, find
from sendense_operator.api.v1alpha1.names import ANNOTATION_VERIFY
from sendense_operator.cli.actions.chain_display import chains_of
from sendense_operator.cli.errors import ExitCode
from sendense_operator.cli.screen import Cell, Tone
from sendense_operator.cli.session import Session
from sendense_operator.cli.waits import Patience, wait_until
from sendense_operator.cluster.kinds import BACKUP, BACKUP_CHAIN, Kind
from sendense_operator.views.backup_view import objects, part, text


async def request_verification(
    session: Session, backups: Sequence[str], vm: str, *, wait: bool, timeout_s: float
) -> None:
    """Request it of Backups, or (`vm`) of all restore points of that VM. With `wait` damage is exit code 1."""
    patience = Patience.of(timeout_s)
    if vm:
        names = [text(part(chain, "metadata").get("name")) for chain in await chains_of(session, vm, "")]
        kind = BACKUP_CHAIN
    else:
        names, kind = list(dict.fromkeys(backups)), BACKUP
    request = session.now().isoformat(timespec="seconds")
    changed = [
        await session.change(kind, name, {"metadata": {"annotations": {ANNOTATION_VERIFY: request}}}) for name in names
    ]
    if not wait and not session.put_out(*changed, single=True):
        for name in names:
            session.screen.line(f"verification of {kind.kind} {name} requested")
    for name in names if wait else ():
        await _wait(session, kind, name, request, patience)


async def _wait(session: Session, kind: Kind, name: str, request: str, patience: Patience) -> None:
    def is_done(found: Mapping[str, Any] | None) -> bool:
        return found is None or part(part(found, "status"), "verification").get("request") == request

    ended = await wait_until(session, kind, name, is_done, f"the verification of {name}", patience)
    verified = find(objects(part(ended or {}, "status").get("conditions")), VERIFIED) or {}
    good = verified.get("status") == "True"
    if not good:
        session.code = ExitCode.FAILED
    if not session.put_out(*filter(None, [ended]), single=True):
        result = text(verified.get("reason")) or ("deleted meanwhile" if ended is None else "no result")
        message = text(verified.get("message"))
        session.screen.line(f"{name}:", Cell(result, Tone.GOOD if good else Tone.BAD), message)
