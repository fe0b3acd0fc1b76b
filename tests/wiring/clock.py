"""Time that moves when the test says so."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.support.sample import NOON


class Clock:
    """The API server's clock."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        """Return time of day."""
        return NOON + timedelta(seconds=self.seconds)

    def stamp(self) -> str:
        """As Kubernetes writes it."""
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")
