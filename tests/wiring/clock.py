"""Time that moves when the test says so."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.support.sample import NOON

DAY = 86_400
"""Seconds."""


class Clock:
    """The API server's clock."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        """Return time of day."""
        return NOON + timedelta(seconds=self.seconds)

    def pass_days(self, days: float) -> None:
        """Let days pass in which nothing happens."""
        self.seconds += int(days * DAY)

    def stamp(self) -> str:
        """As Kubernetes writes it."""
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")
