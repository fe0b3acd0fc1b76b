"""Clusters whose checkout is gone: nobody takes them down, and an engine that starts again starts them with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .. import tools
from ..engine import Engine
from ..settings import CHECKOUT, DATA, KIND_LABEL, KUBECONFIG, NODE_DATA, cluster_name
from ..shell import attempt, step

_DEPTH = len(DATA.relative_to(CHECKOUT).parts)
"""Of a checkout's data below it."""
_FORMAT = (
    f'{{{{index .Config.Labels "{KIND_LABEL}"}}}} '
    f'{{{{range .Mounts}}}}{{{{if eq .Destination "{NODE_DATA}"}}}}{{{{.Source}}}}{{{{end}}}}{{{{end}}}}'
)


def remove(engine: Engine) -> None:
    """Remove the clusters of checkouts that are gone, from our own engine: who knows what another one sees."""
    ids = engine.run("ps", "-aq", "--filter", f"label={KIND_LABEL}").split()
    # one of them may go meanwhile: what is left is reported all the same
    listed = attempt(engine.command, "inspect", "--format", _FORMAT, *ids, env=engine.env).stdout if ids else ""
    for name, checkout in orphans(listed, lambda folder: (folder / "hack" / "cluster").exists()):
        step(f"removing cluster {name} of {checkout}, a checkout that is gone")
        kind = ("delete", "cluster", "--name", name, "--kubeconfig", f"{KUBECONFIG}.{name}")
        attempt(tools.command("kind"), *kind, env=engine.env)


def orphans(listed: str, is_checkout: Callable[[Path], bool]) -> list[tuple[str, Path]]:
    """Return the names and folders of the clusters whose checkout is gone.

    `listed`: for each container a line of its cluster's name and, if it is a node of ours, where its NODE_DATA lies.
    A cluster that isn't named after that folder is none of ours.
    """
    found = {}
    for line in listed.splitlines():
        name, _, data = line.partition(" ")
        if not data or len(Path(data).parents) < _DEPTH:
            continue
        checkout = Path(data).parents[_DEPTH - 1]
        if name == cluster_name(checkout) and not is_checkout(checkout):
            found[name] = checkout
    return sorted(found.items())
