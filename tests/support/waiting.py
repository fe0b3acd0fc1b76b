"""Waiting on conditions: tests never sleep for a fixed time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class NotYet(Exception):  # noqa: N818  # no error: the usual answer of a probe
    """Raised by a probe: what it saw instead of what is waited for."""


class Impossible(Exception):  # noqa: N818  # as above
    """Raised by a probe: what is waited for can't come any more, so don't wait for the time-out."""


def wait_for(what: str, probe: Callable[[], T], *, timeout: float = 60, interval: float = 0.25) -> T:
    """Return the probe's value, as soon as it raises no NotYet.

    Raises AssertionError with what was last seen after `timeout` seconds, or at once when the probe raises
    Impossible. Other exceptions of the probe pass through.
    """
    started = time.monotonic()
    while True:
        try:
            return probe()
        except NotYet as seen:
            last = str(seen)
        except Impossible as seen:
            raise AssertionError(f"{what}: can't come any more: {seen}") from None
        waited = time.monotonic() - started
        if waited > timeout:
            raise AssertionError(f"{what}: not within {timeout:.0f} s; last seen: {last}")
        time.sleep(interval)


def until(condition: object, seen: object) -> None:
    """For probes: raise NotYet with what was seen unless the condition holds."""
    if not condition:
        raise NotYet(str(seen))


def poll(check: Callable[[], Any], what: str = "a condition", limit_s: float = 30) -> Any:
    """Return the first true value of `check`, which costs nothing. Raises AssertionError."""
    deadline = time.monotonic() + limit_s
    while not (value := check()):
        assert time.monotonic() < deadline, f"waited {limit_s:.0f} s for {what}"
        time.sleep(0.02)
    return value


async def comes_true(condition: Callable[[], object], limit_s: float = 30) -> None:
    """Wait for a condition that has no event. Raises TimeoutError."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.002)


def holds_for(what: str, probe: Callable[[], None], *, seconds: float, interval: float = 0.25) -> None:
    """Check again and again that something stays so; the probe raises AssertionError when it does not.

    For claims that nothing happens, which no condition can show; keep `seconds` small.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            probe()
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from error
        time.sleep(interval)
