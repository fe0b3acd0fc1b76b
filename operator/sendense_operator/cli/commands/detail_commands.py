"""`describe` and `chain`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sendense_operator.cli.command_options import command
from sendense_operator.cli.name_completion import complete_backups, complete_repositories, complete_vms

if TYPE_CHECKING:
    from sendense_operator.cli.session import Session

Work = Callable[["Session"], Coroutine[Any, Any, None]]
app = typer.Typer()


@command(app, "describe")
def describe(
    names: Annotated[
        list[str], typer.Argument(metavar="[KIND/]NAME...", autocompletion=complete_backups, show_default=False)
    ],
) -> Work:
    """Show an object in full: its conditions, disks and Events. KIND as kubectl knows it, such as bchain."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions import object_description

        await object_description.describe(session, names)

    return work


@command(app, "chain", lists=True)
def chain(
    vm: Annotated[str, typer.Argument(metavar="VM", autocompletion=complete_vms)],
    repository: Annotated[
        str, typer.Option("--repository", "-r", help="In this repository.", autocompletion=complete_repositories)
    ] = "",
    layers: Annotated[bool, typer.Option("--layers/--no-layers", help="Each disk's layer.")] = True,
) -> Work:
    """Show the restore points of a VM as a tree: sizes, depth, layers, which rule keeps what, and what was removed."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions.chain_display import show_chain

        await show_chain(session, vm, repository, with_layers=layers)

    return work
