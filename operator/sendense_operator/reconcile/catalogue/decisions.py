"""What a repository's catalogue means for the Backups of this cluster. Pure.

From half a listing nothing is concluded: a restore point counts as gone only where all of its chain was listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backup import AdoptedPoint, BackupSpec, Phase, RequestedType
from sendense_operator.api.v1alpha1.base import LocalRef
from sendense_operator.catalogue_format import (
    CatalogueError,
    ChainRecord,
    PointRecord,
    Record,
    RootRecord,
    TombstoneRecord,
)
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.catalogue.layer_marks import mark_of_point
from sendense_operator.reconcile.catalogue.ownership import (
    find_point,
    identify,
    owners,
)
from sendense_operator.reconcile.state.backup_type import backup_type_of
from sendense_operator.reconcile.state.kubernetes_objects import created
from sendense_operator.reconcile.state.packed_points import PackedPoints
from sendense_operator.reconcile.state.records import (
    RECORD_SIZE,
    ChainView,
    KnownBackup,
    RepositoryCatalogue,
    ScanResult,
)
from sendense_operator.task import Removal

UNREADABLE: Final = "Unreadable"
"""Reason of the condition Damaged."""
MAX_SIZE: Final = 64 << 20
"""Bytes of one catalogue in memory: some 100,000 restore points."""
_NAME_ROOM: Final = 54
_ENDED_WITHOUT: Final = frozenset({Phase.LOST, Phase.FAILED, Phase.CANCELLED})


def sort_records(records: Iterable[Record], taken: datetime, asked: Sequence[Removal]) -> ScanResult:
    """Return a catalogue by chains.

    A chain of `asked` that is not reported has no folder; one of which only points are reported was not listed to its
    end. Raises CatalogueError for more than can be kept in memory.
    """
    chains: dict[str, ChainRecord] = {}
    points: dict[str, PackedPoints] = {}
    tombstones: dict[str, dict[str, TombstoneRecord]] = {}
    root: RootRecord | None = None
    size = 0
    for record in records:
        size += 0 if isinstance(record, PointRecord) else RECORD_SIZE
        match record:
            case PointRecord():
                size += points.setdefault(record.vm, PackedPoints()).add(record)
            case TombstoneRecord():
                tombstones.setdefault(record.vm, {})[record.backup_uid] = record
            case ChainRecord():
                chains[record.vm] = record
            case RootRecord():
                root = record
        if size > MAX_SIZE:
            raise CatalogueError(f"it takes more than {MAX_SIZE >> 20} MiB of memory")
    for removal in asked:
        chains.setdefault(removal.vm, ChainRecord(vm=removal.vm))
    for vm in points.keys() | tombstones.keys():
        chains.setdefault(vm, ChainRecord(vm=vm, complete=False, message="it was not listed to its end"))
    views = {
        vm: ChainView(
            chain=chain,
            taken=taken,
            points=points.get(vm) or PackedPoints(),
            tombstones=tombstones.get(vm, {}),
            asked=frozenset(removal.backup_uid for removal in asked if removal.vm == vm),
        )
        for vm, chain in chains.items()
    }
    return ScanResult(taken, views, root)


def merge_scan(old: RepositoryCatalogue | None, reported: ScanResult) -> RepositoryCatalogue:
    """Return the old catalogue with the scan's result: a scan of some chains says nothing of the others."""
    if reported.root is not None and reported.root.complete:
        return RepositoryCatalogue(reported.taken, reported.chains, reported.repository_id)
    before = old or RepositoryCatalogue(taken=None, chains={})
    return replace(before, chains={**before.chains, **reported.chains}, repository_id=reported.repository_id)


def changed_chains(old: RepositoryCatalogue | None, reported: ScanResult) -> list[str]:
    """Return VMs of chains of which something new is reported."""
    before = old.chains if old is not None else {}
    gone = (
        before.keys() - reported.chains.keys() if reported.root is not None and reported.root.complete else set[str]()
    )
    return sorted(gone | {vm for vm, view in reported.chains.items() if view.asked or not _same(before.get(vm), view)})


def _same(old: ChainView | None, new: ChainView) -> bool:
    return old is not None and (old.chain, old.points, old.tombstones) == (new.chain, new.points, new.tombstones)


def decide_adoptions(
    reported: ScanResult, backups: Iterable[KnownBackup], removed: frozenset[str]
) -> Iterator[PointRecord]:
    """Restore points that get a Backup, the oldest first, one at a time.

    `backups`: all of the repository, those being deleted too. `removed`: UIDs that get none: they wait for removal, or
    were retained and nobody asks for them.
    """
    if reported.root is None:
        return iter(())
    known = {backup.point_uid for backup in identify(backups, reported.chains) if not backup.is_refused} | removed
    return reported.points_beside(known)


def adopted_names(point: PointRecord) -> tuple[str, str]:
    """Return the names for the Backup of an adopted restore point: its own, and the one for when that is taken."""
    own = point.backup if names.is_object_name(point.backup) else point.vm
    second = f"{own[:_NAME_ROOM].rstrip('-')}-{point.backup_uid[:8]}"
    return (own if own == point.backup else second), second


def build_adopted(namespace: str, repository: str, point: PointRecord, name: str) -> Obj:
    """Return the Backup of a restore point that was found. Its status comes later, its finalizer at once."""
    spec = BackupSpec(
        vm_ref=LocalRef(name=point.vm),
        repository_ref=LocalRef(name=repository),
        type=RequestedType(backup_type_of(point.disks)),
        adopt=AdoptedPoint(uid=point.backup_uid),
    )
    labels = {
        names.LABEL_VM: point.vm,
        names.LABEL_REPOSITORY: repository,
        names.LABEL_TYPE: spec.type.value,
        names.LABEL_PHASE: Phase.COMPLETED.value,
        names.LABEL_ADOPTED: "true",
    }
    meta = {
        "namespace": namespace,
        "name": name,
        "labels": labels,
        "finalizers": [names.FINALIZER_RESTORE_POINT],
    }
    return {"metadata": meta, "spec": spec.to_dict()}


def owned_by_another(uid: str, owner: str) -> str:
    """Return why an object is refused whose restore point belongs to another one."""
    return (
        f"restore point {uid} belongs to Backup {owner}. This object has no files; deleting it removes none. "
        f"Delete it, or delete Backup {owner} first if this one is to take over"
    )


class ScanVerdict(Enum):
    """What a scan says of a Backup."""

    LOST = "lost"
    FOUND = "found"
    """Its restore point is there, although the Backup had ended without one or had lost it."""
    DAMAGED = "damaged"
    SOUND = "sound"
    """No longer damaged."""
    OUTDATED = "outdated"
    """Its status says other things than its manifest: layers were merged, or the hardware is missing."""


@dataclass(frozen=True)
class Judgement:
    """A verdict on one Backup."""

    verdict: ScanVerdict
    name: str
    uid: str
    """Of the object."""
    vm: str
    point: PointRecord | None = None
    message: str = ""


def judge_backup(reported: ScanResult, backups: Iterable[KnownBackup]) -> Iterator[Judgement]:
    """Return what a scan changes for Backups that are over; those that wait or run are left alone."""
    if reported.root is None:
        return iter(())
    known = identify(backups, reported.chains)
    owned = owners(known)
    judged = (_judge(reported, backup, owned.get(backup.point_uid)) for backup in known if not backup.is_deleting)
    return (found for found in judged if found is not None)


def _judge(reported: ScanResult, backup: KnownBackup, owner: KnownBackup | None) -> Judgement | None:
    view = reported.chains.get(backup.vm)
    point = view.points.get(backup.point_uid) if view is not None else None
    verdict, message = None, ""
    if owner is not None and owner.uid != backup.uid:
        if backup.phase == Phase.COMPLETED:
            verdict, message = ScanVerdict.LOST, owned_by_another(backup.point_uid, owner.name)
    elif backup.is_identified and not backup.is_restored:
        verdict = ScanVerdict.FOUND
    elif backup.phase == Phase.COMPLETED:
        verdict, message = _completed(reported, view, point, backup)
        if verdict is ScanVerdict.DAMAGED and message == backup.damage:
            verdict = None
        if verdict is None and point is not None and is_outdated(backup, point):
            verdict = ScanVerdict.OUTDATED
    elif backup.phase in _ENDED_WITHOUT and point is not None and not backup.is_refused:
        verdict = ScanVerdict.FOUND
    return None if verdict is None else Judgement(verdict, backup.name, backup.uid, backup.vm, point, message)


def is_outdated(backup: KnownBackup, point: PointRecord) -> bool:
    """Return whether the status of a Backup lacks hardware, or tells of other layers, that the manifest names."""
    if point.hardware is not None and not backup.has_hardware:
        return True
    mark = mark_of_point(point.disks)
    return bool(backup.layers and mark) and backup.layers != mark


def _completed(
    reported: ScanResult, view: ChainView | None, point: PointRecord | None, backup: KnownBackup
) -> tuple[ScanVerdict | None, str]:
    if point is not None:
        if point.damage:
            return ScanVerdict.DAMAGED, point.damage
        return (ScanVerdict.SOUND if backup.damage else None), ""
    vm, ended = view.chain.vm if view is not None else "", backup.ended
    if ended is None or ended >= reported.taken or not reported.knows_all_of(vm) or _is_open(view):
        return None, ""
    if view is not None and view.chain.unreadable:
        count = view.chain.unreadable
        return ScanVerdict.DAMAGED, f"its manifest is not among those that can be read; {count} of its chain can't be"
    return ScanVerdict.LOST, "its restore point is not in the repository any more"


def _is_open(view: ChainView | None) -> bool:
    """Return whether a chain is inconclusive: it is being written, or holds manifests of newer formats.

    Without its lock a listing is no view of one moment: a manifest that is renamed meanwhile may be seen nowhere.
    """
    return view is not None and (view.chain.busy or bool(view.chain.newer))


def is_missing(reported: ScanResult | RepositoryCatalogue, backup: Obj, vm: str) -> bool:
    """Return whether the whole chain was listed after the adopting Backup's creation, without its point."""
    view = reported.chains.get(vm)
    if not _was_there(reported, backup):
        return False
    if view is None:
        return True
    return view.chain.is_understood and not view.chain.busy and find_point(backup, view) is None


def why_unread(reported: ScanResult | RepositoryCatalogue, backup: Obj, vm: str) -> str:
    """Describe what of its chain could not be read after the adopting Backup's creation; empty: nothing."""
    view = reported.chains.get(vm)
    count = view.chain.unreadable + view.chain.newer if view is not None else 0
    if view is None or not count or not _was_there(reported, backup):
        return ""
    of_newer = f", {view.chain.newer} of them written by a newer version" if view.chain.newer else ""
    return f"its restore point is not among those that can be read; {count} of its chain can't be{of_newer}"


def _was_there(reported: ScanResult | RepositoryCatalogue, backup: Obj) -> bool:
    """Return whether a Backup was made before what is reported was listed."""
    return reported.taken is not None and created(backup) < reported.taken
