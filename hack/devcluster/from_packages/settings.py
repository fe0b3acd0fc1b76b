"""Versions and paths that only the cluster from packages has."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..settings import CACHE

ETCD: Final = "3.6.8"
COREDNS: Final = "1.14.2"
LOCAL_PATH: Final = "0.0.30"
DEBIAN: Final = "bookworm"
BASE_IMAGE: Final = f"debian:{DEBIAN}-slim"
"""What the Containerfile builds on: a Debian root of ours gets this name."""
SERVICE_SUBNET: Final = "10.96.0.0/16"
"""kind's own."""

FILES: Final = Path(__file__).resolve().parent / "files"
ENGINE: Final = CACHE / "engine"
