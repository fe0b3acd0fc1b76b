"""`sendense chain`: the restore points of a VM as a tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text
from rich.tree import Tree

from sendense_operator.cli.chain_tree import FullGroup, LayerLine, PointLine, group_points
from sendense_operator.cli.errors import CommandError
from sendense_operator.cli.local_times import local
from sendense_operator.cli.screen import Cell, Tone, styled
from sendense_operator.cli.session import Session
from sendense_operator.cluster.kinds import BACKUP, BACKUP_CHAIN
from sendense_operator.formatting import human_bytes, human_count
from sendense_operator.views.backup_view import number, part, text

Obj = Mapping[str, Any]


async def chains_of(session: Session, vm: str, repository: str) -> list[Obj]:
    """Return the VM's chains, in that repository if one is given. Raises CommandError when there is none.

    vm: name of the ProtectedVM, which need not exist any more, or of the chain itself.
    """
    wanted = {"spec.vmRef.name": vm, **({"spec.repositoryRef.name": repository} if repository else {})}
    found: list[Obj] = [*await session.list(BACKUP_CHAIN, fields=",".join(f"{k}={v}" for k, v in wanted.items()))]
    if not found and session.code == 0 and (named := await session.find(BACKUP_CHAIN, vm)) is not None:
        found = [named]
    if not found and session.code == 0:
        where = f" in repository {repository}" if repository else ""
        raise CommandError(
            f"{vm} has no restore point{where}", "`sendense vms` lists the VMs, `sendense backup` makes one"
        )
    return found


async def show_chain(session: Session, vm: str, repository: str, *, with_layers: bool) -> None:
    """Print the chains of a VM. Raises CommandError when it has none."""
    chains = await chains_of(session, vm, repository)
    if session.put_out(*chains, single=True):
        return
    for chain in chains:
        backups = await _backups_of(session, chain) if with_layers else []
        session.screen.show(_tree(chain, group_points(chain, backups)))


async def _backups_of(session: Session, chain: Obj) -> list[Obj]:
    spec = part(chain, "spec")
    vm, repository = text(part(spec, "vmRef").get("name")), text(part(spec, "repositoryRef").get("name"))
    fields = f"spec.vmRef.name={vm},spec.repositoryRef.name={repository},status.phase=Completed"
    namespace = part(chain, "metadata").get("namespace")
    found = await session.list(BACKUP, fields=fields)
    return [one for one in found if part(one, "metadata").get("namespace") == namespace]


def _tree(chain: Obj, groups: list[FullGroup]) -> Tree:
    tree = Tree(_head(chain), guide_style="dim")
    for group in groups:
        first, *rest = group.points
        branch = tree.add(_point(first))
        _add_layers(branch, first.layers)
        for point in rest:
            _add_layers(branch.add(_point(point)), point.layers)
    return tree


def _head(chain: Obj) -> Text:
    spec, status = part(chain, "spec"), part(chain, "status")
    following = part(status, "next")
    words = [
        f"{text(part(spec, 'vmRef').get('name'))} in {text(part(spec, 'repositoryRef').get('name'))}:",
        f"{human_count(number(status.get('points')), 'restore point')},",
        f"{human_bytes(number(status.get('storedBytes')))} stored, depth {number(status.get('depth'))}",
    ]
    if following:
        reason = text(following.get("reason"))
        words.append(f"- next: {text(following.get('type'))}" + (f" ({reason})" if reason else ""))
    return _joined(*words)


def _point(point: PointLine) -> Text:
    size = human_bytes(point.stored_bytes)
    if point.removed:
        return _joined(
            Cell(f"{point.backup} removed", Tone.FAINT), local(point.time), size, Cell(point.kept, Tone.FAINT)
        )
    return _joined(
        Cell(point.backup, Tone.BAD if point.problem else Tone.GOOD), local(point.time), point.type, size,
        f"depth {point.depth}", Cell(point.problem, Tone.BAD), Cell(point.kept, Tone.FAINT),
    )  # fmt: skip


def _add_layers(branch: Tree, layers: tuple[LayerLine, ...]) -> None:
    for layer in layers:
        size = human_bytes(layer.stored_bytes)
        branch.add(_joined(Cell(f"disk {layer.disk} {layer.type} {size} {layer.file}", Tone.FAINT)))


def _joined(*cells: Cell | str) -> Text:
    return Text(" ").join(found for cell in cells if (found := styled(cell)))
