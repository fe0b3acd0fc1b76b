"""`sendense` and `kubectl sendense`: the commands, and completion for both."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final

import typer

from sendense_operator.cli.commands import (
    backup_commands,
    detail_commands,
    doctor_command,
    inventory_commands,
    overview_commands,
    restore_command,
)

_PARTS: Final = (
    overview_commands,
    detail_commands,
    backup_commands,
    restore_command,
    inventory_commands,
    doctor_command,
)
_COMPLETE: Final = "_SENDENSE_COMPLETE"
_NO_FILES: Final = ":4"
"""What kubectl expects at the end of a plugin's completions: no names of files."""

app = typer.Typer(
    name="sendense",
    help="Backups of VMs, with the rights of the kubeconfig's user.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
for part in _PARTS:
    app.registered_commands += part.app.registered_commands


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - it takes time that completion does not have

        typer.echo(version("sendense-backup"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Backups of VMs, with the rights of the kubeconfig's user."""


def main() -> None:
    """Run the command line; never returns."""
    app(prog_name="kubectl sendense" if sys.argv[0].endswith("kubectl-sendense") else "sendense")


def complete_for_kubectl() -> None:
    """Print the completions of `kubectl sendense WORDS`, as kubectl asks a plugin for them."""
    words = ["sendense", *sys.argv[1:]]
    os.environ |= {_COMPLETE: "complete_bash", "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    try:
        app(prog_name="sendense", complete_var=_COMPLETE)
    finally:
        print(_NO_FILES)
