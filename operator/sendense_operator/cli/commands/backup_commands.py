"""`backup`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sendense_operator.cli.command_options import Timeout, Wait, command
from sendense_operator.cli.name_completion import complete_repositories, complete_vms

if TYPE_CHECKING:
    from sendense_operator.cli.session import Session

Work = Callable[["Session"], Coroutine[Any, Any, None]]
app = typer.Typer()


@command(app, "backup")
def backup(
    vms: Annotated[list[str], typer.Argument(metavar="VM...", autocompletion=complete_vms, show_default=False)],
    full: Annotated[bool, typer.Option("--full", help="Copy each disk completely; else what changed.")] = False,
    repository: Annotated[
        str,
        typer.Option(
            "--repository", "-r", help="Where to; else as the VM's policy says.", autocompletion=complete_repositories
        ),
    ] = "",
    name: Annotated[str, typer.Option("--name", help="Name of the Backup; else VM and time in UTC.")] = "",
    wait: Wait = False,
    timeout: Timeout = 0,
) -> Work:
    """Back up VMs now: by the name of the ProtectedVM, or the name in vCenter."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions.backup_creation import BackupOptions, back_up

        await back_up(session, vms, BackupOptions(repository, full, name, wait, timeout))

    return work
