"""Deletes the Backups that no rule of their policy keeps: expired restore points, and old failures.

It deletes objects as a user would. What becomes of their files is decided where all deleted Backups are decided about.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Final

from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import ForbiddenError, InvalidError
from sendense_operator.cluster.kinds import BACKUP, BACKUP_POLICY
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import human_list
from sendense_operator.logs import get_logger
from sendense_operator.reconcile.chains.retention_decision import RetentionDecision
from sendense_operator.reconcile.protection.selection import PolicyEntry
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting

AT_ONCE: Final = 20
"""Backups that one check deletes; the next check deletes more."""
_FAILED: Final = (Phase.FAILED, Phase.CANCELLED)
_log = get_logger(__name__)


async def delete_expired(
    ctx: ReconcileContext, chain: Obj, backups: Iterable[Obj], decision: RetentionDecision, policy: PolicyEntry
) -> str:
    """Delete the oldest expired Backups; return why the API server did not let it, empty for success."""
    by_name = {obj["metadata"]["name"]: obj for obj in backups if not is_deleting(obj)}
    expired = [by_name[name] for name in decision.to_delete if name in by_name][:AT_ONCE]
    if not expired or is_deleting(chain) or not await _is_current(ctx, policy):
        return ""
    try:
        deleted = await _delete(ctx, expired)
    except (ForbiddenError, InvalidError) as error:
        return str(error)
    text = f"no rule of policy {policy.name} keeps {human_list(deleted)}: deleted"
    await ctx.events.post(chain, "Normal", "RestorePointExpired", text)
    return ""


async def delete_old_failures(ctx: ReconcileContext, backups: Iterable[Obj], policies: Iterable[PolicyEntry]) -> None:
    """Delete Backups that failed or were cancelled beyond the history limit of the policy that created them."""
    known = {policy.name: policy for policy in policies}
    for name, failed in _failures(backups).items():
        policy = known.get(name)
        if policy is None or policy.failed_history_limit is None or policy.suspended:
            continue
        surplus = failed[policy.failed_history_limit :][:AT_ONCE]
        if policy.retention is not None and policy.retention.dry_run:
            continue
        if surplus and await _is_current(ctx, policy):
            try:
                deleted = await _delete(ctx, surplus)
            except (ForbiddenError, InvalidError) as error:
                _log.warning("failed Backups can't be deleted", policy=name, error=error)
            else:
                _log.info("deleted failed Backups beyond the history limit", policy=name, backups=deleted)


def _failures(backups: Iterable[Obj]) -> dict[str, list[Obj]]:
    """Return the Backups that ended without a restore point, the newest first, by the policy that created them."""
    found: dict[str, list[tuple[str, Obj]]] = {}
    for obj in backups:
        status, policy = obj.get("status") or {}, (obj["spec"].get("policyRef") or {}).get("name")
        if policy and status.get("phase") in _FAILED and not is_deleting(obj):
            found.setdefault(policy, []).append((status.get("completionTime") or "", obj))
    return {policy: [obj for _, obj in sorted(some, key=itemgetter(0), reverse=True)] for policy, some in found.items()}


async def _is_current(ctx: ReconcileContext, policy: PolicyEntry) -> bool:
    """Return whether the policy is as the watch reported it: somebody may have just relaxed its rules."""
    obj = await find(ctx.cluster, BACKUP_POLICY, policy.namespace, policy.name)
    if obj is None or is_deleting(obj):
        return False
    meta = obj["metadata"]
    return bool(meta["uid"] == policy.uid and int(meta.get("generation") or 0) == policy.generation)


async def _delete(ctx: ReconcileContext, backups: Sequence[Obj]) -> list[str]:
    """Return the names of what was deleted."""
    for obj in backups:
        meta = obj["metadata"]
        await ctx.cluster.delete(BACKUP, meta["namespace"], meta["name"], uid=meta["uid"])
    return [obj["metadata"]["name"] for obj in backups]
