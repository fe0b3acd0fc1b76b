"""The stacks of layers of a restore point's disks."""

from __future__ import annotations

from collections.abc import Iterable

from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.chain.parent_choice import BrokenStackError, stack_of
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images.unproven import Unproven
from sendense_operator.worker.storage.chain_folder import ChainFolder

Stack = tuple[ManifestDisk, ...]
"""A disk's layer and all layers below it, the full last."""


def stacks_of(disks: Iterable[ManifestDisk], chain: ChainFolder) -> tuple[list[Stack], list[tuple[Stack, Unproven]]]:
    """Return the stacks of disks, and apart from them the disks whose stack is broken, each as a stack of its own.

    Raises WorkerError if it is not known whether one is broken.
    """
    stacks, broken = list[Stack](), list[tuple[Stack, Unproven]]()
    known = [*chain.points, *chain.tombstones]
    for disk in disks:
        try:
            stacks.append(stack_of(disk, known, chain.paths))
        except BrokenStackError as error:
            if not chain.is_understood:
                text = f"{error}, but not all manifests of the chain can be read"
                raise WorkerError(Reason.STORAGE_ERROR, text) from error
            broken.append(((disk,), Unproven(str(error), layer=error.layer)))
    return stacks, broken


def layers_in(stacks: Iterable[Stack]) -> tuple[str, ...]:
    """Return the paths of all layers, each once."""
    return tuple(dict.fromkeys(layer.file for stack in stacks for layer in stack))
