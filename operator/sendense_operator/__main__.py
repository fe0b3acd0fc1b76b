"""`python -m sendense_operator controller|worker|gateway|rest`: each program imports only what it needs."""

from __future__ import annotations

import importlib
import signal
import sys
from types import FrameType

PROGRAMS = {
    "controller": ("sendense_operator.controller.main", "run"),
    "worker": ("sendense_operator.worker.main", "main"),
    "gateway": ("sendense_operator.gateway.main", "run"),
    "rest": ("sendense_operator.gateway.rest.main", "run"),
}


def _end(_number: int, _frame: FrameType | None) -> None:
    # As the first process of a container nothing else would end us before the program has its own handler.
    sys.exit(1)


def main(argv: list[str] | None = None) -> int:
    """Run a program; its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1 or arguments[0] not in PROGRAMS:
        print(f"usage: python -m sendense_operator {'|'.join(PROGRAMS)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _end)
    # By name: a worker must never load the controller's framework, nor the gateway the worker's tools.
    module, entry = PROGRAMS[arguments[0]]
    return int(getattr(importlib.import_module(module), entry)() or 0)


if __name__ == "__main__":
    sys.exit(main())
