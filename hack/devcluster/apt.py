"""Debian's package manager, on a machine whose root may use it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .shell import run


def usable() -> bool:
    """Return whether this is Debian and we are root."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None and Path("/etc/debian_version").exists()


def install(*packages: str) -> None:
    """Install packages from the lists as they are. Raises SetupError."""
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages, env=environment)
