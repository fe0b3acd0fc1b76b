"""What a scan keeps of each Backup. Pure."""

from __future__ import annotations

import sys

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import parse_time
from sendense_operator.reconcile.catalogue.layer_marks import mark_of_status
from sendense_operator.reconcile.catalogue.ownership import is_refused, is_restored, point_uid
from sendense_operator.reconcile.state.kubernetes_objects import created, is_deleting, labels_of
from sendense_operator.reconcile.state.records import KnownBackup


def known_backup(backup: Obj) -> KnownBackup:
    """Return what a scan has to know of a Backup. Names that many share are kept once."""
    meta, status = backup["metadata"], backup.get("status") or {}
    return KnownBackup(
        name=meta["name"],
        uid=meta["uid"],
        point_uid=point_uid(backup),
        vm=sys.intern(backup["spec"]["vmRef"]["name"]),
        phase=sys.intern(status.get("phase") or ""),
        is_deleting=is_deleting(backup),
        ended=parse_time(status.get("completionTime")),
        damage=_damage(status),
        adopted=created(backup) if labels_of(backup).get(names.LABEL_ADOPTED) else None,
        created=created(backup),
        manifest=status.get("manifest") or "",
        job_id=status.get("jobID") or "",
        is_restored=is_restored(backup),
        is_refused=is_refused(backup),
        layers=mark_of_status(status.get("disks") or ()),
        has_hardware="hardware" in status,
    )


def _damage(status: Obj) -> str:
    found = conditions.find(status.get("conditions") or [], conditions.DAMAGED)
    return str(found.get("message", "")) if found is not None else ""
