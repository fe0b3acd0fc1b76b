"""`vms`, `discover`, `repo` and `policy`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sendense_operator.cli.command_options import Timeout, Wait, command
from sendense_operator.cli.name_completion import (
    complete_appliances,
    complete_policies,
    complete_repositories,
    complete_vms,
)

if TYPE_CHECKING:
    from sendense_operator.cli.session import Session

Work = Callable[["Session"], Coroutine[Any, Any, None]]
app = typer.Typer()


@command(app, "vms", lists=True)
def vms(
    names: Annotated[list[str] | None, typer.Argument(metavar="[VM]...", autocompletion=complete_vms)] = None,
) -> Work:
    """List the VMs that can be backed up."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions.inventory_reports import show_vms

        await show_vms(session, names or [])

    return work


@command(app, "discover", lists=True)
def discover(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[APPLIANCE]...", autocompletion=complete_appliances)
    ] = None,
) -> Work:
    """Show what discovery found in vCenter, and what a dry run would make."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions.inventory_reports import show_discovery

        await show_discovery(session, names or [])

    return work


@command(app, "repo", lists=True)
def repo(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[REPOSITORY]...", autocompletion=complete_repositories)
    ] = None,
    scan: Annotated[bool, typer.Option("--scan", help="List all restore points anew.")] = False,
    wait: Wait = False,
    timeout: Timeout = 0,
) -> Work:
    """Show the repositories: state, capacity, content."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions.repository_report import scan_repositories, show_repositories

        if scan:
            await scan_repositories(session, names or [], wait=wait, timeout_s=timeout)
        else:
            await show_repositories(session, names or [])

    return work


@command(app, "policy", lists=True)
def policy(
    names: Annotated[list[str] | None, typer.Argument(metavar="[POLICY]...", autocompletion=complete_policies)] = None,
    run: Annotated[bool, typer.Option("--run", help="Back up the policy's VMs now.")] = False,
) -> Work:
    """Show the policies; of a named one the next runs, and what no rule of its retention keeps."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions.policy_report import run_policies, show_policies

        if run:
            await run_policies(session, names or [])
        else:
            await show_policies(session, names or [])

    return work
