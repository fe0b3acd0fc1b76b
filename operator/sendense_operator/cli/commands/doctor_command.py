"""`doctor`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sendense_operator.cli.command_options import command

if TYPE_CHECKING:
    from sendense_operator.cli.session import Session

Work = Callable[["Session"], Coroutine[Any, Any, None]]
app = typer.Typer()


@command(app, "doctor")
def doctor(
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Write objects and logs, without Secrets, to this tar.gz.")
    ] = None,
) -> Work:
    """Check definitions, rights, versions, appliances, repositories and callbacks; say what to do."""

    async def work(session: Session) -> None:
        from sendense_operator.cli.actions.bundle_writing import write_bundle
        from sendense_operator.cli.actions.health_report import show_health

        if bundle is None:
            await show_health(session)
        else:
            await write_bundle(session, bundle)

    return work
