"""Whether a repository may use its claim. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting, queue_order
from sendense_operator.reconcile.state.problem import Meaning, Problem

_WRITABLE = frozenset({"ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"})


@dataclass(frozen=True)
class Claim:
    """A claim as it was found."""

    name: str
    claim: Obj | None
    storage_class: Obj | None = None
    """Only looked up while the claim is pending."""


def is_exclusive(claim: Obj) -> bool:
    """Return whether one pod at a time may use the claim."""
    return (claim.get("spec") or {}).get("accessModes") == ["ReadWriteOncePod"]


def needs_one_node(claim: Obj) -> bool:
    """Return whether all pods that use the claim at the same time have to be on one node, wherever that is.

    Only one at a time uses a ReadWriteOncePod claim. A bound claim tells its volume's modes too, which may be more.
    """
    modes = {mode for part in ("spec", "status") for mode in (claim.get(part) or {}).get("accessModes") or []}
    return not is_exclusive(claim) and "ReadWriteMany" not in modes


def decide_claim(repository: Obj, found: Claim, rivals: Sequence[Obj]) -> Problem | None:
    """Return what is wrong with the claim; `rivals`: all repositories of the namespace that name it."""
    claim = found.claim
    if claim is None:
        return Problem("ClaimNotFound", f"there is no PersistentVolumeClaim {found.name}")
    older = next((other for other in queue_order(rivals) if not is_deleting(other)), repository)
    if older["metadata"]["uid"] != repository["metadata"]["uid"]:
        return Problem(
            "ClaimInUse",
            f"BackupRepository {older['metadata']['name']} uses claim {found.name} already: only one may use a claim",
            Meaning.FINAL,
        )
    if is_deleting(claim):
        return Problem("ClaimDeleting", f"claim {found.name} is being deleted")
    return writing_problem(found, claim)


def writing_problem(found: Claim, claim: Obj) -> Problem | None:
    """Return what keeps pods from writing to a claim that is there, by its access modes and its phase."""
    modes = (claim.get("spec") or {}).get("accessModes") or []
    if modes and not _WRITABLE.intersection(modes):
        return Problem("ReadOnlyClaim", f"claim {found.name} can't be written to ({', '.join(modes)})", Meaning.FINAL)
    phase = (claim.get("status") or {}).get("phase")
    if phase == "Lost":
        return Problem("ClaimLost", f"claim {found.name} has lost its volume", Meaning.FINAL)
    if phase != "Pending":
        return None
    mode = (found.storage_class or {}).get("volumeBindingMode")
    if mode == "WaitForFirstConsumer":
        return None  # the pod is the first consumer
    return Problem("ClaimPending", f"claim {found.name} is not bound to a volume yet")
