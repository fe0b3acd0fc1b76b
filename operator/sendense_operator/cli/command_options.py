"""The options that all commands share, and the decorator that adds them. Imports nothing that takes time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, ParamSpec

import typer

from sendense_operator.cli.name_completion import complete_contexts, complete_namespaces

if TYPE_CHECKING:
    from sendense_operator.cli.session import Session

P = ParamSpec("P")
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", help="Namespace; else the context's.", autocompletion=complete_namespaces)
]
Everywhere = Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces.")]
Context = Annotated[str, typer.Option("--context", help="Context of the kubeconfig.", autocompletion=complete_contexts)]
Kubeconfig = Annotated[str, typer.Option("--kubeconfig", help="Path of the kubeconfig; else as kubectl.")]
Form = Annotated[
    Literal["table", "json", "yaml", "name"], typer.Option("--output", "-o", help="Form of what is printed.")
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Go on, and print what changes, until Ctrl-C.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end. Ctrl-C ends only the waiting.")]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0, help="Seconds to wait at most; then the exit code is 124. 0: no limit.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_SHARED: Final = (
    ("namespace", Namespace, ""),
    ("context", Context, ""),
    ("kubeconfig", Kubeconfig, ""),
    ("output", Form, "table"),
)
_OF_LISTS: Final = (("everywhere", Everywhere, False), ("watch", Watch, False))

Command = Callable[P, "Callable[[Session], Coroutine[Any, Any, None]]"]
"""Takes its own options; returns what is to be done."""


def command(app: typer.Typer, name: str, *, lists: bool = False) -> Callable[[Command[P]], Command[P]]:
    """Add a command to `app` with its own options and the shared ones. `lists`: also -A and --watch."""

    def register(function: Command[P]) -> Command[P]:
        shared = _SHARED + (_OF_LISTS if lists else ())

        def run(**values: Any) -> None:
            raise typer.Exit(_execute({key: values.pop(key) for key, _, _ in shared}, function, values))

        own = inspect.signature(function, eval_str=True)
        more = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for key, kind, default in shared
        ]
        signature = own.replace(parameters=[*own.parameters.values(), *more], return_annotation=None)
        run.__signature__ = signature  # type: ignore[attr-defined]  # what typer reads
        run.__doc__ = function.__doc__
        app.command(name)(run)
        return function

    return register


def _execute(shared: dict[str, Any], function: Callable[..., Any], values: dict[str, Any]) -> int:
    # here, because a completion ends before: these imports take a second
    from sendense_operator.cli.execution import Target, execute  # noqa: PLC0415
    from sendense_operator.cli.object_output import Format  # noqa: PLC0415

    form = Format(shared.pop("output"))
    return int(execute(Target(form=form, **shared), function(**values)))
