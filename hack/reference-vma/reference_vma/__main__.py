"""Command line of the service: see README.md."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import uvicorn

from reference_vma.app import Service
from reference_vma.config import find_client_python, from_environment

_SHUTDOWN_SECONDS = 2


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="reference_vma", description="A VMA that behaves as the one in the field.")
    parser.add_argument("--listen", default="127.0.0.1", help="address (default %(default)s)")
    parser.add_argument("--port", type=int, default=8081, help="TCP port, 0 for any (default %(default)s)")
    parser.add_argument("--disks", type=Path, required=True, help="folder of the VMs' folders")
    parser.add_argument("--state", type=Path, help="folder of the change tracking (default DISKS/.state)")
    parser.add_argument("--scratch", type=Path, help="folder of the snapshots (default DISKS/.scratch)")
    control_plane = os.environ.get("CONTROL_PLANE_URL", "http://localhost:8082")
    parser.add_argument(
        "--control-plane", default=control_plane, help="base URL of the callbacks (default %(default)s)"
    )
    parser.add_argument("--snapshot", choices=("copy", "none"), default="copy", help="default of the VMs")
    parser.add_argument("--client-python", default="", help="interpreter of the clients, with the nbd module")
    return parser.parse_args()


def main() -> int:
    """Serve until TERM or INT."""
    options = _parse()
    try:
        settings = from_environment(
            options.disks,
            options.state,
            options.scratch,
            control_plane=options.control_plane,
            snapshot=options.snapshot,
            client_python=find_client_python(options.client_python),
        )
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"reference_vma: {error}\n")
        return 1
    settings.disks.mkdir(parents=True, exist_ok=True)
    # No access log: the query of cbt-status holds credentials. /_control/log has all calls, without.
    uvicorn.run(
        Service(settings),
        host=options.listen,
        port=options.port,
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
