"""The claims that receive the disks of a Restore: whether each is there, large enough and used by nobody else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.file_target import FileTarget
from sendense_operator.api.v1alpha1.restore import ChosenPoint, RestoredDiskStatus
from sendense_operator.api.v1alpha1.restore_target import RestoreTarget
from sendense_operator.chain.export_files import claim_file
from sendense_operator.chain.ovf import MAX_DISKS as MOST_OVA_DISKS
from sendense_operator.cluster.kinds import BACKUP_REPOSITORY, JOB, POD
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.provenance import is_restore_job
from sendense_operator.formatting import human_bytes, human_list
from sendense_operator.reconcile.restores.claim_targets import claim_targets
from sendense_operator.reconcile.restores.new_claims import decide_new_claim, new_claims
from sendense_operator.reconcile.restores.restore_status import ObservedRestore
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.kubernetes_objects import (
    is_deleting,
    is_finished,
    is_live,
    is_owned_by,
    labels_of,
)
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.state.quantity import parse_quantity
from sendense_operator.reconcile.workload.claim_reading import find_claim
from sendense_operator.reconcile.workload.claims import Claim, writing_problem
from sendense_operator.restore_task import FileFormat


def assign_claims(
    target: RestoreTarget | None, disks: Sequence[RestoredDiskStatus], point: ChosenPoint
) -> list[RestoredDiskStatus] | Problem:
    """Return the disks, each with its claim and file; without one if they are only served or verified."""
    if target is not None and target.file is not None:
        return _assign_files(target.file, disks, point)
    targets = claim_targets(target, disks)
    if targets is None:
        return list(disks)
    claims = {one.disk: one.claim_name for one in targets}
    known = {disk.index for disk in disks}
    if missing := [str(disk.index) for disk in disks if disk.index not in claims]:
        text = (
            f"spec.target.persistentVolumeClaims names no claim for disk {human_list(missing)}: add one in a new "
            "Restore, or list the wanted disks in spec.source.disks"
        )
        return Problem("ClaimMissing", text, Meaning.FINAL)
    if unknown := [str(index) for index in claims if index not in known]:
        text = f"spec.target.persistentVolumeClaims: the restore point has no disk {human_list(unknown)}"
        return Problem("DiskNotFound", text, Meaning.FINAL)
    if twice := sorted(name for name in set(claims.values()) if list(claims.values()).count(name) > 1):
        text = f"spec.target.persistentVolumeClaims names claim {human_list(twice)} for more than one disk"
        return Problem("ClaimShared", text, Meaning.FINAL)
    return [_assigned(disk, claims[disk.index]) for disk in disks]


def _assign_files(
    file: FileTarget, disks: Sequence[RestoredDiskStatus], point: ChosenPoint
) -> list[RestoredDiskStatus] | Problem:
    if file.format is FileFormat.OVA and len(disks) > MOST_OVA_DISKS:
        text = (
            f"spec.target.file.format: an OVA has room for {MOST_OVA_DISKS} disks, and the restore point has "
            f"{len(disks)}: use another format, or list some of them in spec.source.disks"
        )
        return Problem("FormatUnsupported", text, Meaning.FINAL)
    folder = PurePosixPath(file.folder or "")
    return [
        _assigned(
            disk,
            file.claim_name,
            str(folder / claim_file(point.vm_name, point.backup_name, disk.index, file.format)),
        )
        for disk in disks
    ]


def _assigned(disk: RestoredDiskStatus, claim: str, file: str | None = None) -> RestoredDiskStatus:
    copy = disk.model_copy()
    copy.claim_name, copy.file = claim, file
    return copy


async def check_claims(
    ctx: ReconcileContext, restore: ObservedRestore, disks: Sequence[RestoredDiskStatus]
) -> Problem | None:
    """Return the first problem with one of the claims of the disks. Raises ClusterError."""
    wanted = {disk.claim_name: disk for disk in disks if disk.claim_name is not None}
    repositories = await _repositories(ctx, restore) if wanted else {}
    found = {name: await find_claim(ctx, restore.namespace, name) for name in wanted}
    made = new_claims(restore)
    for name, disk in wanted.items():
        if name in made:
            if problem := decide_new_claim(name, found[name].claim, restore):
                return problem
            if found[name].claim is None:
                continue
        if name in repositories:
            text = f"claim {name} holds BackupRepository {repositories[name]} and can't receive {_content(disk)}"
            return Problem("ClaimIsRepository", text, Meaning.FINAL)
        if problem := decide_claim(found[name], disk):
            return problem
    users = await _users(ctx, restore, frozenset(wanted)) if wanted else {}
    if users:
        text = "; ".join(f"claim {name} is used by {human_list(by)}" for name, by in sorted(users.items()))
        what = "files" if restore.spec.file is not None else "a disk"
        return Problem("ClaimInUse", f"{text}: a claim can only receive {what} while nothing else uses it")
    return None


async def _repositories(ctx: ReconcileContext, restore: ObservedRestore) -> dict[str, str]:
    """Return the name of a BackupRepository by its claim: whichever it is, its scan would find files of a Restore."""

    def claim_of(repository: Obj) -> tuple[str, str]:
        return repository["spec"]["claimName"], repository["metadata"]["name"]

    return dict(await collect(ctx.cluster, BACKUP_REPOSITORY, restore.namespace, claim_of))


def _content(disk: RestoredDiskStatus) -> str:
    """Return what a claim receives, for messages."""
    return "files" if disk.file is not None else f"disk {disk.index}"


def decide_claim(found: Claim, disk: RestoredDiskStatus) -> Problem | None:
    """Return what keeps a claim from receiving a disk, or files: whether these fit only their content tells."""
    name, claim = found.name, found.claim
    if claim is None:
        text = f"there is no PersistentVolumeClaim {name}, which receives {_content(disk)}"
        return Problem("ClaimNotFound", text)
    if is_deleting(claim):
        return Problem("ClaimDeleting", f"claim {name} is being deleted")
    mode = (claim.get("spec") or {}).get("volumeMode", "Filesystem")
    if mode != "Filesystem":
        text = f"claim {name} has volume mode {mode}: only claims of volume mode Filesystem are supported"
        return Problem("ClaimUnsupported", text, Meaning.FINAL)
    too_small = _size_problem(name, claim, disk) if disk.file is None else None
    return writing_problem(found, claim) or too_small


def _size_problem(name: str, claim: Obj, disk: RestoredDiskStatus) -> Problem | None:
    """Return the problem of a claim that is smaller than the disk, since a guest may fill the whole disk later."""
    requested = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage")
    text = ((claim.get("status") or {}).get("capacity") or {}).get("storage") or requested
    size = parse_quantity(text) if text is not None else 0
    if size >= disk.virtual_size:
        return None
    return Problem(
        "ClaimTooSmall",
        f"claim {name} has {human_bytes(size)} ({size} bytes), disk {disk.index} has {human_bytes(disk.virtual_size)} "
        f"({disk.virtual_size} bytes): use a larger claim",
        Meaning.FINAL,
    )


async def _users(ctx: ReconcileContext, restore: ObservedRestore, claims: frozenset[str]) -> dict[str, list[str]]:
    """Return by claim what uses it: pods, and the Jobs of other Restores, whose pods may not be there yet."""

    def pod_claims(pod: Obj) -> tuple[str, frozenset[str]] | None:
        used = _mounted(pod["spec"]) & claims
        # The pods of this Restore are left out: one that is being stopped is waited for elsewhere.
        own = labels_of(pod).get("job-name") == restore.job_name
        return (f"pod {pod['metadata']['name']}", used) if used and not own and not is_finished(pod) else None

    def job_claims(job: Obj) -> tuple[str, frozenset[str]] | None:
        used = _mounted(job["spec"]["template"]["spec"]) & claims
        other = is_live(job) and is_restore_job(job) and not is_owned_by(job, restore.obj)
        return (f"Restore {labels_of(job).get(names.LABEL_RESTORE, '')}", used) if used and other else None

    selector = f"{names.LABEL_COMPONENT}={names.COMPONENT_RESTORE}"
    jobs = await collect(ctx.cluster, JOB, restore.namespace, job_claims, labels=selector)
    pods = await collect(ctx.cluster, POD, restore.namespace, pod_claims)
    return _by_claim([*jobs, *pods])


def _by_claim(users: Iterable[tuple[str, frozenset[str]]]) -> dict[str, list[str]]:
    found = dict[str, list[str]]()
    for user, used in users:
        for name in used:
            found.setdefault(name, []).append(user)
    return found


def _mounted(spec: Mapping[str, object]) -> frozenset[str]:
    """Return the names of the claims in a pod's spec."""
    volumes = spec.get("volumes")
    if not isinstance(volumes, list):
        return frozenset()
    sources = [volume.get("persistentVolumeClaim") or {} for volume in volumes]
    return frozenset(str(source["claimName"]) for source in sources if source.get("claimName"))
