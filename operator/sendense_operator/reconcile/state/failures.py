"""What a reconcile did not expect: written into the object, so that nobody waits without knowing what for.

Once is nothing: an object changes or vanishes while it is reconciled, an API server restarts. From the second failure
in a row on, the Ready condition says it in the server's words. The work queue retries with exponential back-off.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backup import BackupStatus, Phase
from sendense_operator.api.v1alpha1.backupchain import BackupChainStatus
from sendense_operator.api.v1alpha1.backuppolicy import BackupPolicyStatus
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositoryStatus
from sendense_operator.api.v1alpha1.base import Status
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMStatus
from sendense_operator.api.v1alpha1.restore import RestoreStatus
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceStatus
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import ClusterError, ConflictError, ForbiddenError, InvalidError, UnavailableError
from sendense_operator.cluster.kinds import (
    APPLIANCE,
    BACKUP,
    BACKUP_CHAIN,
    BACKUP_POLICY,
    BACKUP_REPOSITORY,
    PROTECTED_VM,
    RESTORE,
    Kind,
)
from sendense_operator.cluster.status_writer import write_status
from sendense_operator.logs import get_logger
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.state.recent import Recent, count_up

SHOWN_FROM: Final = 2
"""Failures in a row from which on the object says so."""
_KINDS: Final[Mapping[Work, tuple[Kind, type[Status]]]] = {
    Work.BACKUP: (BACKUP, BackupStatus),
    Work.RESTORE: (RESTORE, RestoreStatus),
    Work.CHAIN: (BACKUP_CHAIN, BackupChainStatus),
    Work.REPOSITORY: (BACKUP_REPOSITORY, BackupRepositoryStatus),
    Work.POLICY: (BACKUP_POLICY, BackupPolicyStatus),
    Work.VM: (PROTECTED_VM, ProtectedVMStatus),
    Work.APPLIANCE: (APPLIANCE, VMwareApplianceStatus),
}
_log = get_logger(__name__)


Failures = Recent[Key, int]
"""Reconciles that failed in a row."""


async def count_failure(ctx: ReconcileContext, failures: Failures, key: Key, error: Exception) -> None:
    """One more failure of a reconcile; from the second on it is written into the object. Raises nothing."""
    if key.work not in _KINDS:
        return
    count = count_up(failures, key)
    # A conflict means that the object changed since it was read: the next reconcile reads it again.
    if count < SHOWN_FROM or isinstance(error, ConflictError):
        return
    try:
        await _show(ctx, key, error)
    except ClusterError as worse:
        _log.warning("the failure can't be written to the status either", object=key, error=worse)


async def _show(ctx: ReconcileContext, key: Key, error: Exception) -> None:
    kind, model = _KINDS[key.work]
    name = key.chain.object_name if key.work is Work.CHAIN else key.name
    obj = await find(ctx.cluster, kind, key.namespace, name)
    if obj is None:
        return
    old = model.model_validate(obj.get("status") or {})
    reason, message = describe_failure(error)
    status = failed_status(old, reason, message, generation=obj["metadata"].get("generation"), now=ctx.now())
    if status is None or await write_status(ctx.cluster, kind, obj, status):
        await ctx.events.post(obj, "Warning", reason, message)


def describe_failure(error: Exception) -> tuple[str, str]:
    """Return the reason and message of the Ready condition for an error that a reconcile raised."""
    end = "it is tried again with increasing pauses"
    match error:
        case TimeoutError():
            return "ReconcileTimeout", f"the controller did not finish a reconcile in time; {end}"
        case UnavailableError():
            return "APIServerError", f"the API server can't do what is needed: {error}; {end}"
        case ForbiddenError():
            return "APIForbidden", f"the API server does not allow what is needed: {error}; {end}"
        case InvalidError():
            return "APIInvalid", f"the API server rejects what is needed: {error}; {end}"
        case ClusterError():
            return "APIServerError", f"the API server answers: {error}; {end}"
        case _:
            text = f"{type(error).__name__} in the controller, see its log (kubectl logs deploy/…-controller)"
            return "InternalError", f"{text}; {end}"


def failed_status(old: Status, reason: str, message: str, *, generation: int | None, now: datetime) -> Status | None:
    """Return the status with a Ready condition that says so; None where Ready is True, or the end: that is still right.

    A Backup or a Restore that runs goes on running: its worker does not depend on the controller.
    """
    before = conditions.dicts_of(old)
    if conditions.is_true(before, conditions.READY) or conditions.is_true(before, conditions.STALLED):
        return None
    if isinstance(old, BackupStatus | RestoreStatus) and old.phase is Phase.RUNNING:
        new = conditions.with_aspect(before, conditions.READY, False, reason, message, generation=generation, now=now)
        new.sort(key=lambda condition: condition["type"] != conditions.READY)
    else:
        new = conditions.update(before, conditions.reconciling(reason, message), generation=generation, now=now)
    status = old.model_copy()
    status.conditions = conditions.models_of(new)
    if isinstance(status, BackupStatus | RestoreStatus):
        status.phase = status.phase or Phase.PENDING
        status.message = conditions.shortened(message)
    return status
