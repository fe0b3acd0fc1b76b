"""Runs the parts of REST, and keeps to itself what goes wrong in them.

A certificate that does not fit yet, or a port that is taken for a moment, is no reason to lose the lists of all
resources.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

from sendense_operator.logs import get_logger

log = get_logger(__name__)

PAUSES_S: Final = (1.0, 30.0)
"""Before the second attempt, and at most: doubled after each failure."""


async def keep_running(
    part: str, work: Callable[[], Awaitable[None]], stop: asyncio.Event, pauses_s: tuple[float, float] = PAUSES_S
) -> None:
    """Run `work` until it ends with `stop` set; when it ends or fails before that, again after a pause.

    Raises nothing of its own. `stop` does not end the work, just its repetition.
    """
    shortest, longest = pauses_s
    pause = shortest
    while True:
        began = time.monotonic()
        problem = await _problem_of(work)
        if stop.is_set():
            return
        if time.monotonic() - began > longest:
            pause = shortest  # it had worked
        log.error("REST failed", part=part, retry_s=pause, error=problem or "it ended", exc_info=_worth(problem))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await stop.wait()
        pause = min(pause * 2, longest)


async def _problem_of(work: Callable[[], Awaitable[None]]) -> Exception | None:
    try:
        await work()
    except Exception as problem:
        return problem
    return None


def _worth(problem: Exception | None) -> Exception | None:
    """Return what a trace says more of than its text: not a file or a certificate that is not as it should be."""
    return None if isinstance(problem, OSError) else problem
