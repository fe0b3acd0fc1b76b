"""Runs a command: connects, repeats it for `--watch`, and turns every end into a line and an exit code."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from sendense_operator.cli.errors import CommandError, ExitCode
from sendense_operator.cli.object_output import Format
from sendense_operator.cli.screen import Screen, Tone
from sendense_operator.cli.session import MANAGER, Session
from sendense_operator.cluster.api_client import KubernetesCluster
from sendense_operator.cluster.api_connection import connect_user
from sendense_operator.cluster.errors import (
    AlreadyExistsError,
    ClusterError,
    ForbiddenError,
    InvalidError,
    KubeconfigError,
)

Work = Callable[[Session], Awaitable[None]]
DEBUG: Final = "SENDENSE_DEBUG"
"""Environment variable that shows the traceback of an error in this program."""
_WATCH_S: Final = 2.0
_HOME: Final = "\x1b[H\x1b[2J"


@dataclass(frozen=True)
class Target:
    """Which API server and namespace, and how the answer looks."""

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    everywhere: bool = False
    form: Format = Format.TABLE
    watch: bool = False


def execute(target: Target, work: Work) -> ExitCode:
    """Run the command to its end; never raises."""
    screen = Screen()
    try:
        code = asyncio.run(_run(target, work, screen))
        sys.stdout.flush()
        return code
    except CommandError as error:
        return _end(screen, str(error), error.hint, error.code)
    except ClusterError as error:
        return _end(screen, *_explained(error))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read has enough. Python would complain at its end about what it could not write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except Exception as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        return _end(
            screen, f"this program has an error: {type(error).__name__}: {error}",
            f"run it again with {DEBUG}=1 and report what it prints",
        )  # fmt: skip


async def _run(target: Target, work: Work, screen: Screen) -> ExitCode:
    api, namespace = await connect_user(target.kubeconfig, target.context)
    async with KubernetesCluster(api, manager=MANAGER) as cluster:
        session = Session(cluster, target.namespace or namespace, target.everywhere, target.form, screen, target.watch)
        if target.watch:
            await _repeat(session, work)
        else:
            await work(session)
        return session.code


async def _repeat(session: Session, work: Work) -> None:
    """Print the command's output each time that it differs, until the user has enough."""
    before = ""
    while True:
        with session.screen.console.capture() as captured:
            await work(session)
        text = captured.get()
        if text != before:
            session.screen.console.file.write((_HOME if session.screen.live else "\n" if before else "") + text)
            session.screen.console.file.flush()
            before = text
        await asyncio.sleep(_WATCH_S)


def _end(screen: Screen, message: str, hint: str = "", code: ExitCode = ExitCode.FAILED) -> ExitCode:
    screen.note(f"error: {message}", Tone.BAD)
    if hint:
        screen.note(hint)
    return code


def _explained(error: ClusterError) -> tuple[str, str]:
    """Return what happened and what to do next."""
    if isinstance(error, KubeconfigError):
        return f"the kubeconfig can't be used: {error}", "check --kubeconfig, --context and KUBECONFIG"
    if isinstance(error, AlreadyExistsError):
        return str(error), "choose another --name"
    if isinstance(error, InvalidError):
        return f"the API server rejects it: {error}", "change what it names"
    if isinstance(error, ForbiddenError):
        return f"the API server refuses: {error}", "ask the namespace's admin"
    return str(error), "check that the API server is reachable: `kubectl version`"
