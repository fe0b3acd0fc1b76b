"""`python -m sendense_operator controller`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

from prometheus_client import disable_created_metrics

from sendense_operator.controller.assembly import run_controller
from sendense_operator.logs import setup_logging
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.vma.callback_keys import MountedKeys


def run() -> int:
    """Run the controller until it is requested to stop; its exit code."""
    try:
        settings = Settings.from_environment(os.environ)
        MountedKeys(Path(settings.callback_key_folder)).check()
    except ValueError as error:
        print(f"settings: {error}", file=sys.stderr)
        return 2
    setup_logging("controller", settings.log_level, log_format=settings.log_format)
    if settings.log_level != "DEBUG":
        # kopf tells of each handler that it called.
        logging.getLogger("kopf").setLevel(logging.WARNING)
    # else a further series per counter, of which no query makes use
    disable_created_metrics()  # type: ignore[no-untyped-call]
    asyncio.run(run_controller(settings))
    return 0
