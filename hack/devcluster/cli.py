"""`hack/cluster`: one entry for the cluster and the images on it."""

from __future__ import annotations

import argparse
import sys

from . import cluster, engine_choice, images, release, transfer
from .settings import KUBECONFIG
from .shell import SetupError


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0, or 1 after one message that says what to do."""
    parser = argparse.ArgumentParser(prog="hack/cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("up", "make the cluster ready: reuse, repair or create it"),
        ("down", "remove the cluster, and the engine if it is ours"),
        ("status", "what is up; exit code 1 when it is not ready"),
        ("env", 'print variables for a shell: eval "$(hack/cluster env)"'),
        ("kubeconfig", "print the kubeconfig's path"),
        ("build", "build the project's images; print their names"),
        ("images", "print the images' names without building"),
    ):
        commands.add_parser(name, help=text)
    commands.add_parser("install", help="build, load and install the chart with Helm; wait until it is ready")
    logs = commands.add_parser("logs", help="what controller, gateways and workers log, in order of time")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("backup", nargs="?", default="", help="only this Backup (name, or NAMESPACE/NAME)")
    load = commands.add_parser("load", help="put images into the workers; without names: the project's, built first")
    load.add_argument("image", nargs="*")
    try:
        return _do(parser.parse_args(arguments))
    except SetupError as failure:
        print(f"hack/cluster: {failure}", file=sys.stderr)
    except KeyboardInterrupt:
        print("hack/cluster: stopped; the next run goes on from here", file=sys.stderr)
    return 1


def _do(options: argparse.Namespace) -> int:
    match options.command:
        case "up":
            cluster.up()
        case "down":
            cluster.down()
        case "status":
            return 0 if cluster.status() else 1
        case "env":
            print(cluster.exports(cluster.running()), end="")
        case "kubeconfig":
            cluster.running()
            print(KUBECONFIG)
        case "build":
            print("\n".join(images.build(engine_choice.ensure())))
        case "images":
            print("\n".join(images.names().values()))
        case "load":
            _load(options.image)
        case "install":
            release.install(cluster.running(), _load([])[0])
        case "logs":
            release.logs(cluster.running(), options.backup, options.follow)
    return 0


def _load(chosen: list[str]) -> list[str]:
    """Return the names of the images that the workers hold then: those asked for, else the project's."""
    here = cluster.running()
    names = chosen or images.build(here)
    transfer.load(here, names)
    if not chosen:
        transfer.forget(here, images.remove_old(here))
    return names
