"""`status` and `list`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sendense_operator.cli.command_options import command
from sendense_operator.cli.name_completion import complete_policies, complete_repositories, complete_vms

if TYPE_CHECKING:
    from sendense_operator.cli.session import Session

Work = Callable[["Session"], Coroutine[Any, Any, None]]
app = typer.Typer()

VMs = Annotated[list[str] | None, typer.Argument(metavar="[VM]...", autocompletion=complete_vms)]
Phase = Literal["Pending", "Running", "Completed", "Failed", "Cancelled", "Lost", "Deleting"]


@command(app, "status", lists=True)
def status(vms: VMs = None) -> Work:
    """Am I protected? Each VM's newest restore point, its age and the next run; problems first."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions.status_overview import show_status

        await show_status(session, vms or [])

    return work


@command(app, "list", lists=True)
def list_backups(
    vm: Annotated[str, typer.Option("--vm", help="Of this VM.", autocompletion=complete_vms)] = "",
    repository: Annotated[
        str, typer.Option("--repository", "-r", help="In this repository.", autocompletion=complete_repositories)
    ] = "",
    kind: Annotated[Literal["full", "incremental"] | None, typer.Option("--type", help="Of this type.")] = None,
    phase: Annotated[Phase | None, typer.Option("--phase", help="In this phase.")] = None,
    policy: Annotated[str, typer.Option("--policy", help="Of this policy.", autocompletion=complete_policies)] = "",
    labels: Annotated[str, typer.Option("--selector", "-l", help="Label selector.")] = "",
    fields: Annotated[str, typer.Option("--field-selector", help="Field selector, such as spec.type=Auto.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many, the newest. 0: all.")] = 0,
) -> Work:
    """Backups, the newest first. Filters may be combined."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions.backup_list import Wanted, show_backups

        await show_backups(
            session,
            Wanted(vm, repository, kind or "", phase or "", policy, labels=labels, fields=fields, limit=limit),
        )

    return work
