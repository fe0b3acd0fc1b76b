"""A worker outside a pod: `run_worker.py SETTINGS.json [STEP]`.

SETTINGS: the fields of Settings, `idle_seconds` to shorten the wait of a cancelled increment without data, and
`compacts_all` to compact small increments, too. With STEP it kills itself before that step (a number) of its
compactions and its commit.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from unittest.mock import patch

from sendense_operator.chain import compaction
from sendense_operator.chain.manifest import CHUNK
from sendense_operator.logs import setup_logging
from sendense_operator.worker.main import run
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.vma_job import client_release

_PATHS = ("task_file", "credentials_dir", "ca_bundle", "repository", "targets", "termination_file")


def main() -> int:
    """Return the exit code of the worker."""
    fields = json.loads(Path(sys.argv[1]).read_text())
    idle_seconds = fields.pop("idle_seconds", client_release._IDLE_SECONDS)
    least, most = (0, CHUNK) if fields.pop("compacts_all", False) else (compaction.LEAST_GAIN, compaction.MOST_READ)
    fields |= {name: Path(fields[name]) for name in _PATHS if name in fields}
    stop_at = int(sys.argv[2]) if len(sys.argv) > 2 else -1
    count = 0

    def on_step(_: str) -> None:
        nonlocal count
        if count == stop_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    setup_logging("worker")
    with (
        patch.object(client_release, "_IDLE_SECONDS", idle_seconds),
        patch.object(compaction, "LEAST_GAIN", least),
        patch.object(compaction, "MOST_READ", most),
    ):
        return asyncio.run(run(Settings(**fields), on_step))


if __name__ == "__main__":
    sys.exit(main())
