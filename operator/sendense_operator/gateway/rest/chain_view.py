"""Chains and the VMs' protection, put together from records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sendense_operator.gateway.rest.errors import RestError
from sendense_operator.views.cached_objects import CachedBackup, CachedChain, CachedVM, Consolidation, encode


def pick_chain(chains: Iterable[CachedChain], vm: str, repository: str) -> CachedChain:
    """Of the VM's chains the one in that repository, or (empty) with the newest point. Raises RestError (404)."""
    found = [one for one in chains if repository in ("", one.repository)]
    if not found:
        raise RestError(404, "backup chain not found", f"there is no restore point of {vm}" + _where(repository))
    return max(found, key=lambda one: (one.latest_time, one.name))


def _where(repository: str) -> str:
    return f" in {repository[:200]}" if repository else ""


def chain_body(chain: CachedChain, points: Sequence[CachedBackup], vm_name: str, disk_index: int) -> bytes:
    """Return the JSON of a chain for one disk.

    `points`: its restore points, the oldest first. Raises RestError (404) when none of them has that disk.
    """
    sizes = [
        (point, sum(layer.stored_bytes for layer in point.layers if layer.disk_index == disk_index))
        for point in points
        if any(layer.disk_index == disk_index for layer in point.layers)
    ]
    if not sizes and disk_index > 0:
        raise RestError(404, "backup chain not found", f"no restore point of {chain.vm} has a disk {disk_index}")
    newest = sizes[-1][0].name if sizes else ""
    full = full_of([point for point, _ in sizes], disk_index) or dict(chain.fulls).get(newest) or None
    head = encode(
        {
            "chain_id": chain.name,
            "vm_context_id": chain.vm,
            "vm_name": vm_name,
            "disk_id": disk_index,
            "repository_id": chain.repository,
            "full_backup_id": full,
            "total_size_bytes": sum(size for _, size in sizes),
            "backup_count": len(sizes),
            "consolidation": consolidation_json(chain.consolidation),
        }
    )
    return head[:-1] + b',"backups":[' + b",".join(point.body for point, _ in sizes) + b"]}"


def consolidation_json(state: Consolidation) -> dict[str, Any]:
    """Return the JSON of a chain's consolidation."""
    return {
        "mode": state.mode,
        "requested": state.is_requested,
        "progress": state.progress or None,
        "last_consolidation_at": state.last_time or None,
        "merges": state.merges,
        "freed_bytes": state.freed_bytes,
        "left": state.left or None,
        "message": state.message or None,
    }


def full_of(points: Sequence[CachedBackup], disk_index: int) -> str | None:
    """Return the name of the full below the newest point's disk; None where a layer in between is unknown."""
    by_name = {point.name: point for point in points}
    at = points[-1] if points else None
    for _ in points:
        parent = next((layer.parent for layer in at.layers if layer.disk_index == disk_index), "") if at else ""
        if not parent:
            break
        at = by_name.get(parent)
    return at.name if at else None


def vm_json(vm: CachedVM, chains: Iterable[CachedChain]) -> dict[str, Any]:
    """Return the JSON of a VM with its protection. `chains`: the VM's own."""
    kept = sorted(chains, key=lambda one: one.repository)
    return {
        **vm.json,
        "protected": any(one.points for one in kept),
        "last_backup_at": max((one.latest_time for one in kept), default="") or None,
        "protection": [
            {
                "repository_id": one.repository,
                "chain_id": one.name,
                "restore_points": one.points,
                "last_backup_id": one.latest or None,
                "last_backup_at": one.latest_time or None,
                "stored_bytes": one.stored_bytes,
            }
            for one in kept
        ],
    }
