"""`restore`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sendense_operator.cli.command_options import Timeout, Wait, command
from sendense_operator.cli.name_completion import complete_backups, complete_repositories, complete_vms

if TYPE_CHECKING:
    from sendense_operator.cli.session import Session

Work = Callable[["Session"], Coroutine[Any, Any, None]]
app = typer.Typer()


@command(app, "restore")
def restore(
    backup: Annotated[str, typer.Argument(metavar="[BACKUP]", autocompletion=complete_backups)] = "",
    vm: Annotated[
        str, typer.Option("--vm", help="The newest restore point of this VM.", autocompletion=complete_vms)
    ] = "",
    repository: Annotated[
        str, typer.Option("--repository", "-r", help="With --vm: from here.", autocompletion=complete_repositories)
    ] = "",
    at: Annotated[str, typer.Option("--at", help="With --vm: as of 2026-01-31T12:00:00Z.")] = "",
    to: Annotated[
        list[str] | None, typer.Option("--to", metavar="DISK=CLAIM", help="Claim of a disk; once per disk.")
    ] = None,
    file: Annotated[
        str, typer.Option("--file", metavar="CLAIM[/FOLDER]", help="Files in a claim, instead of a claim per disk.")
    ] = "",
    file_format: Annotated[str, typer.Option("--format", help="With --file: raw, qcow2, vmdk or ova.")] = "",
    create: Annotated[bool, typer.Option("--create", help="Make the claims.")] = False,
    storage_class: Annotated[str, typer.Option("--storage-class", help="Of the claims that are made.")] = "",
    virtual_machine: Annotated[
        str, typer.Option("--virtual-machine", help="Make a KubeVirt VirtualMachine of this name.")
    ] = "",
    network: Annotated[
        list[str] | None, typer.Option("--network", metavar="NETWORK=WHERE", help="Its cards there: `pod`, or Multus.")
    ] = None,
    default_network: Annotated[
        str, typer.Option("--default-network", metavar="WHERE", help="Its other cards: `pod`, or Multus.")
    ] = "",
    nbd: Annotated[bool, typer.Option("--nbd", help="Serve the disks read-only over NBD.")] = False,
    ttl: Annotated[int, typer.Option("--ttl", min=0, help="With --nbd: seconds; 0: until it is cancelled.")] = 0,
    tls: Annotated[bool, typer.Option("--tls", help="With --nbd: only with TLS, and a key.")] = False,
    verify_only: Annotated[bool, typer.Option("--verify-only", help="Only read and compare.")] = False,
    disk: Annotated[list[int] | None, typer.Option("--disk", min=0, help="Only this disk; may be repeated.")] = None,
    allow_damaged: Annotated[bool, typer.Option("--allow-damaged", help="Zeroes where it is damaged.")] = False,
    name: Annotated[str, typer.Option("--name", help="Name of the Restore; else VM and time in UTC.")] = "",
    wait: Wait = False,
    timeout: Timeout = 0,
) -> Work:
    """Restore disks into claims (--to), as a VM, or into files, or look into them (--nbd, --verify-only)."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions import restore_creation

        options = restore_creation.RestoreOptions(
            backup=backup, vm=vm, repository=repository, at=at, targets=to or (), create=create,
            storage_class=storage_class, virtual_machine=virtual_machine, networks=network or (),
            default_network=default_network, file=file, format=file_format, nbd=nbd, ttl_s=ttl, tls=tls,
            verify_only=verify_only, disks=disk or (), allow_damaged=allow_damaged, name=name, wait=wait,
            timeout_s=timeout,
        )  # fmt: skip
        await restore_creation.restore(session, options)

    return work
