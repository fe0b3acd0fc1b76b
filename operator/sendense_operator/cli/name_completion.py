"""Names for the shell's completion, asked of `kubectl`: it starts in a tenth of the time of our own client.

It uses the same kubeconfig, context and namespace as the command line that is being completed. Where there is no
kubectl, or no answer within a second, nothing is completed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import Final

import typer

_TIMEOUT_S: Final = 1.0
_GROUP: Final = "backup.sendense.io"
_TARGET: Final = ("namespace", "context", "kubeconfig")

Complete = Callable[[typer.Context, str], list[str]]
"""typer knows the context by its name, `ctx`."""


def names_of(plural: str) -> Complete:
    """Return the completion of the names of one kind's objects."""
    return lambda ctx, incomplete: _names(ctx, incomplete, ("get", f"{plural}.{_GROUP}"))


def complete_namespaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the namespaces that begin like this."""
    return _names(ctx, incomplete, ("get", "namespaces"))


def complete_contexts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the kubeconfig's contexts that begin like this."""
    return [one for one in _kubectl(ctx, ("config", "get-contexts", "-o", "name")) if one.startswith(incomplete)]


def _names(ctx: typer.Context, incomplete: str, query: Sequence[str]) -> list[str]:
    found = (line.rpartition("/")[2] for line in _kubectl(ctx, (*query, "-o", "name")))
    given = {str(word) for value in ctx.params.values() if isinstance(value, list | tuple) for word in value}
    return [name for name in found if name.startswith(incomplete) and name not in given - {incomplete}]


def _kubectl(ctx: typer.Context, words: Sequence[str]) -> list[str]:
    program = shutil.which("kubectl")
    if program is None:
        return []
    target = [f"--{key}={value}" for key in _TARGET if (value := ctx.params.get(key))]
    command = [program, *words, *target, f"--request-timeout={_TIMEOUT_S:.0f}s"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return []
    return done.stdout.split() if done.returncode == 0 else []


complete_backups: Final = names_of("backups")
complete_restores: Final = names_of("restores")
complete_vms: Final = names_of("protectedvms")
complete_repositories: Final = names_of("backuprepositories")
complete_policies: Final = names_of("backuppolicies")
complete_appliances: Final = names_of("vmwareappliances")
