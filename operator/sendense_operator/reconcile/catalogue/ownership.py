"""Which Backup object a restore point belongs to. Pure.

At most one object at a time: two that own the same files would each remove them for the other. Objects that another
tool restored (Velero, `kubectl apply` of an export) have new UIDs, so they are matched with what their status or their
name says, and only where no other object owns that restore point.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.catalogue_format import PointRecord
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting, labels_of, ready_condition
from sendense_operator.reconcile.state.records import ChainView, KnownBackup

REASON_OWNED: Final = "RestorePointOwned"
"""Why a Backup fails that is not the one owner of the restore point which it names."""
_WITHOUT_POINT: Final = frozenset({Phase.FAILED, Phase.CANCELLED})
_WITH_POINT: Final = frozenset({Phase.COMPLETED, Phase.LOST})


def point_uid(backup: Obj) -> str:
    """Return the UID by which the repository knows the restore point of a Backup: of the object that made it."""
    adopt = backup["spec"].get("adopt")
    if adopt:
        return str(adopt["uid"])
    return str((backup.get("status") or {}).get("restorePointUID") or backup["metadata"]["uid"])


def is_restored(backup: Obj) -> bool:
    """Return whether another tool created this object from a copy of a completed one, without its status.

    Its label says that it was completed, which only the controller writes, and only after the status. From then on
    `status.adopted` remembers it, since the label follows the phase. Such an object never copies anything: it waits for
    a scan that finds the restore point of its name.
    """
    status = backup.get("status") or {}
    if backup["spec"].get("adopt") or status.get("restorePointUID"):
        return False
    if not status.get("phase"):
        return labels_of(backup).get(names.LABEL_PHASE) == Phase.COMPLETED
    return bool(status.get("adopted")) and not status.get("manifest")


def is_refused(backup: Obj) -> bool:
    """Return whether this object failed because another one owned its restore point.

    It stays so when that owner is gone: else deleting the owner with Retain would bring the point back unasked.
    """
    status = backup.get("status") or {}
    ready = ready_condition(backup)
    return status.get("phase") == Phase.FAILED and ready is not None and ready["reason"] == REASON_OWNED


def owns_point(backup: Obj) -> bool:
    """Return whether this object owns its restore point: it is neither being deleted nor failed."""
    return _counts(is_deleting(backup), (backup.get("status") or {}).get("phase"))


def owner_of(uid: str, backups: Iterable[KnownBackup]) -> KnownBackup | None:
    """Return the one object that owns the restore point `uid`, None if there is none."""
    return owners(backups).get(uid)


def owners(backups: Iterable[KnownBackup]) -> dict[str, KnownBackup]:
    """Return the one object that owns each restore point, by the point's UID.

    The object that made it comes first, then one that is already complete, then the oldest one.
    """
    found: dict[str, KnownBackup] = {}
    for backup in backups:
        if _claims(backup):
            other = found.get(backup.point_uid)
            found[backup.point_uid] = backup if other is None else min(backup, other, key=_rank)
    return found


def _claims(backup: KnownBackup) -> bool:
    return _counts(backup.is_deleting, backup.phase)


def _counts(deleting: bool, phase: str | None) -> bool:
    return not deleting and phase not in _WITHOUT_POINT


def _rank(backup: KnownBackup) -> tuple[object, ...]:
    return backup.point_uid != backup.uid, backup.phase not in _WITH_POINT, backup.created, backup.uid


def identify(backups: Iterable[KnownBackup], chains: Mapping[str, ChainView]) -> list[KnownBackup]:
    """`backups`, those that another tool restored with the UID of the restore point that they are copies of.

    With its old status an object names a manifest and a job ID, without one only a name. `chains`: by ProtectedVM.
    """
    known = list(backups)
    taken = {backup.point_uid for backup in known if _claims(backup)}
    result = []
    written: dict[str, _Written] = {}
    for backup in known:
        view = chains.get(backup.vm)
        point = (
            _point_of_copy(backup, view, written) if view is not None and backup.point_uid not in view.points else None
        )
        if point is not None and point.backup_uid not in taken:
            taken.add(point.backup_uid)
            backup = replace(backup, point_uid=point.backup_uid, is_identified=True)  # noqa: PLW2901
        result.append(backup)
    return result


_Written = dict[tuple[str, str], str]
"""Of a chain, by manifest and job ID: the UID of the restore point."""


def _point_of_copy(backup: KnownBackup, view: ChainView, written: dict[str, _Written]) -> PointRecord | None:
    """`written`: by ProtectedVM; filled here, since each check of a point unpacks it."""
    if backup.is_deleting:
        return None
    if backup.is_restored:
        return point_named(view, backup.name)
    if backup.phase not in _WITH_POINT or not backup.manifest or not backup.job_id:
        return None
    if backup.vm not in written:
        written[backup.vm] = {(point.manifest, point.job_id): uid for uid, point in view.points.items()}
    uid = written[backup.vm].get((backup.manifest, backup.job_id))
    return view.points[uid] if uid is not None else None


def point_named(view: ChainView, name: str) -> PointRecord | None:
    """Return the newest restore point of the Backup name `name` in a chain."""
    found = [point for point in view.points.values() if point.backup == name]
    return max(found, key=lambda point: point.sequence, default=None)


def find_point(backup: Obj, view: ChainView) -> PointRecord | None:
    """Return the restore point of an object that copies nothing: by the UID that it names, else by its own name."""
    if is_restored(backup):
        return point_named(view, backup["metadata"]["name"])
    return view.points.get(point_uid(backup))
