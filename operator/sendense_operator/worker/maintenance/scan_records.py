"""Catalogue records of a chain, from its survey."""

from __future__ import annotations

from collections.abc import Iterator

from sendense_operator.catalogue_format import (
    MAX_OBSTACLES,
    PASSING,
    ChainRecord,
    Obstacle,
    PointRecord,
    Record,
    TombstoneRecord,
)
from sendense_operator.chain.damage import DamageVerdict, Judge
from sendense_operator.worker.maintenance.chain_maintenance import Survey
from sendense_operator.worker.storage.chain_folder import StoredPoint
from sendense_operator.worker.storage.tombstones import Waiting

_MAX_NAME = 256
"""Characters that are kept of a VM's name in vCenter."""
_MAX_MESSAGE = 1000


def chain_records(survey: Survey) -> Iterator[Record]:
    """Yield the records of the restore points, oldest first, of the tombstones, and last of the chain.

    For a chain that could not be listed completely, only the chain's record.
    """
    vm, chain = survey.chain.paths.vm, survey.chain
    if survey.is_complete:
        points = [(point.manifest, point.unfit) for point in chain.points]
        judge = Judge(points, (point.manifest for point in chain.tombstones), survey.disk_files.files)
        for point in chain.points:
            yield _point(vm, point, judge.judge(point.manifest))
        for item in survey.waiting:
            yield _tombstone(vm, item)
    yield ChainRecord(
        vm=vm,
        complete=survey.is_complete,
        busy=survey.is_busy,
        points=len(chain.points),
        unknown=survey.unknown,
        quarantined=survey.quarantined,
        unreadable=len(chain.unreadable),
        newer=len(chain.newer),
        message="; ".join(survey.messages)[:_MAX_MESSAGE],
        obstacles=tuple(sorted(survey.obstacles, key=_rank)[:MAX_OBSTACLES]),
    )


def _rank(obstacle: Obstacle) -> bool:
    """Return a sort key that puts what passes by itself last, because it explains least."""
    return obstacle.reason in PASSING


def _point(vm: str, point: StoredPoint, verdict: DamageVerdict) -> PointRecord:
    manifest = point.manifest
    return PointRecord(
        vm=vm,
        backup=manifest.backup.name,
        backup_uid=manifest.backup.uid,
        manifest=str(point.place),
        sequence=manifest.sequence,
        started=manifest.started,
        finished=manifest.finished,
        job_id=manifest.job_id,
        vm_name=manifest.vm.vmware_name[:_MAX_NAME],
        disks=tuple(disk.to_answer() for disk in manifest.disks),
        damage=verdict.damage,
        full_next=verdict.full_next,
        retain_until=manifest.retain_until,
        hardware=manifest.vm.hardware.shown() if manifest.vm.hardware is not None else None,
    )


def _tombstone(vm: str, item: Waiting) -> TombstoneRecord:
    backup = item.point.manifest.backup
    return TombstoneRecord(
        vm=vm, backup=backup.name, backup_uid=backup.uid, stored_bytes=item.stored_bytes, needed_by=item.needed_by
    )
