"""Commands that act on Backups: `backup`, `wait`, `cancel`, `delete`, `verify` and `logs`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sendense_operator.cli.command_options import Timeout, Wait, Yes, command
from sendense_operator.cli.name_completion import complete_backups, complete_repositories, complete_vms

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


Names = Annotated[list[str], typer.Argument(metavar="NAME...", autocompletion=complete_backups, show_default=False)]


@command(app, "wait")
def wait_for(names: Names, timeout: Timeout = 0) -> Work:
    """Show Backups or Restores until they have ended. The exit code is 0 if all completed."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions.run_waiting import wait_for_runs

        await wait_for_runs(session, names, timeout_s=timeout)

    return work


@command(app, "cancel")
def cancel(names: Names, wait: Wait = False, timeout: Timeout = 0) -> Work:
    """Stop Backups or Restores that wait or run; they end as Cancelled."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions.run_cancellation import cancel_runs

        await cancel_runs(session, names, wait=wait, timeout_s=timeout)

    return work


@command(app, "delete")
def delete(names: Names, yes: Yes = False, wait: Wait = False, timeout: Timeout = 0) -> Work:
    """Delete restore points. Says what becomes free and what stays, and asks."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions.backup_removal import delete_backups

        await delete_backups(session, names, sure=yes, wait=wait, timeout_s=timeout)

    return work


@command(app, "verify")
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[BACKUP]...", autocompletion=complete_backups)] = None,
    vm: Annotated[str, typer.Option("--vm", help="All restore points of this VM.", autocompletion=complete_vms)] = "",
    wait: Wait = False,
    timeout: Timeout = 0,
) -> Work:
    """Read restore points completely, and compare them with their digests."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions.verification_request import request_verification
        from sendense_operator.cli.errors import usage

        if bool(names) == bool(vm):
            raise usage(
                "name either Backups, or a VM by --vm", "`sendense list --phase Completed` lists restore points"
            )
        await request_verification(session, names or [], vm, wait=wait, timeout_s=timeout)

    return work


@command(app, "logs")
def logs(
    name: Annotated[str, typer.Argument(metavar="BACKUP", autocompletion=complete_backups)],
    raw: Annotated[bool, typer.Option("--raw", help="The lines as they were written.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the pods have ended.")] = False,
) -> Work:
    """Show what the pods of a Backup or a Restore wrote."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions.pod_logs import show_logs

        await show_logs(session, name, raw=raw, follow=follow)

    return work
