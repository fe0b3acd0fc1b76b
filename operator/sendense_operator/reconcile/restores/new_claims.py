"""Claims that a Restore makes: they belong to it until it is Completed, so that nothing unfinished stays behind."""

from __future__ import annotations

from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.restored_claim import NewClaim
from sendense_operator.chain.export_files import DiskData, most_bytes
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import AlreadyExistsError, ForbiddenError, InvalidError
from sendense_operator.cluster.kinds import CLAIM, Kind
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.restores.claim_targets import claim_targets
from sendense_operator.reconcile.restores.restore_status import ObservedRestore
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.kubernetes_objects import is_owned_by, owner_ref
from sendense_operator.reconcile.state.problem import Meaning, Problem

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_RESERVED: Final = 0.05
"""Part of a file system that mke2fs reserves for root, whom no worker is."""
_INODES: Final = 256 / 16_384
"""Part that the inode tables take: one inode of 256 bytes per 16 KiB."""
_SMALL_INODES: Final = 256 / 4_096
"""The same for a file system below 512 MiB, for which mke2fs chooses one inode per 4 KiB."""
_GROUPS: Final = 0.001
"""Part that bitmaps, group descriptors and the blocks for growing them take, at most."""
_JOURNAL_MAX: Final = _GIB
_FIXED: Final = 64 * _MIB
"""For what does not grow with the size, and for storage that rounds down."""


def claim_size(content: int) -> int:
    """Return the bytes of a volume whose ext4 file system, made with the defaults of mke2fs, has room for so many.

    Other file systems take less: XFS reserves nothing for root. Rounded up to MiB.
    """
    inodes = _SMALL_INODES if content < 512 * _MIB else _INODES
    journal = min(max(content // 16, 16 * _MIB), _JOURNAL_MAX)
    needed = (content + journal + _FIXED) / (1 - _RESERVED - inodes - _GROUPS)
    return -(-int(needed) // _MIB) * _MIB


def new_claims(restore: ObservedRestore) -> dict[str, tuple[NewClaim, int]]:
    """Return what is to be made, and for how many bytes of disks or files, by the names of the claims."""
    target = restore.spec.target
    disks = {disk.index: disk.virtual_size for disk in restore.status.disks}
    if target is not None and target.file is not None:
        files = most_bytes([DiskData.full(size) for size in disks.values()], target.file.format)
        return {target.file.claim_name: (target.file.create, files)} if target.file.create is not None else {}
    made = [one for one in claim_targets(target, restore.status.disks) or () if one.disk in disks]
    return {one.claim_name: (one.create, disks[one.disk]) for one in made if one.create is not None}


def decide_new_claim(name: str, claim: Obj | None, restore: ObservedRestore) -> Problem | None:
    """Return the problem of a claim that is to be made, but is there already; None if this Restore made it."""
    if claim is None or is_owned_by(claim, restore.obj):
        return None
    remedy = "name another one, or leave out create in a new Restore to write to it"
    if restore.spec.virtual_machine is not None:
        remedy = "choose another spec.target.virtualMachine.name in a new Restore, or delete the claim"
    text = f"claim {name} exists already and was not made by this Restore: {remedy}"
    return Problem("ClaimExists", text, Meaning.FINAL)


def build_claim(restore: ObservedRestore, name: str, new: NewClaim, content: int) -> Obj:
    """Return the claim that receives a disk or files of `content` bytes."""
    spec: Obj = {
        "accessModes": [mode.value for mode in new.access_modes],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": str(new.size_bytes or claim_size(content))}},
    }
    if new.storage_class_name is not None:
        spec["storageClassName"] = new.storage_class_name
    labels = {names.LABEL_RESTORE: restore.name, names.LABEL_COMPONENT: names.COMPONENT_RESTORE}
    if restore.status.restore_point is not None:
        labels[names.LABEL_VM] = restore.status.restore_point.vm_name
    return {
        "metadata": {
            "namespace": restore.namespace,
            "name": name,
            "labels": labels,
            "ownerReferences": [owner_ref(restore.obj)],
        },
        "spec": spec,
    }


async def make_claims(ctx: ReconcileContext, restore: ObservedRestore) -> Problem | None:
    """Create the claims that are missing. Raises ClusterError for what is no answer to a claim."""
    for name, (new, content) in new_claims(restore).items():
        try:
            if await find(ctx.cluster, CLAIM, restore.namespace, name) is None:
                await ctx.cluster.create(CLAIM, build_claim(restore, name, new, content))
        except AlreadyExistsError:
            return Problem("ClaimPending", f"claim {name} was made a moment ago")
        except (ForbiddenError, InvalidError) as error:
            return Problem("ClaimRejected", f"the API server does not accept claim {name}: {error}")
    return None


async def release_claims(ctx: ReconcileContext, restore: ObservedRestore) -> None:
    """Let the claims of a Completed Restore stay when it is deleted. Raises ClusterError."""
    for name in new_claims(restore):
        claim = await find(ctx.cluster, CLAIM, restore.namespace, name)
        if claim is not None and is_owned_by(claim, restore.obj):
            await release(ctx, CLAIM, claim, restore)


async def release(ctx: ReconcileContext, kind: Kind, obj: Obj, restore: ObservedRestore) -> None:
    """Let an object that belongs to a Restore stay when that is deleted. Raises ClusterError."""
    meta = obj["metadata"]
    others = [owner for owner in meta.get("ownerReferences") or [] if owner.get("uid") != restore.uid]
    patch = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], "ownerReferences": others}
    await ctx.cluster.merge_patch(kind, restore.namespace, meta["name"], {"metadata": patch})
