"""Turns of the chains of a repository: in the order in which they came, as many at a time as there are slots."""

from __future__ import annotations

from typing import Final

from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.context import ChainJobContext
from sendense_operator.reconcile.state.hints import ChainJobHints
from sendense_operator.reconcile.state.keys import ChainKey, Key
from sendense_operator.reconcile.workload.chain_job import VERIFICATION, ChainJobKind, live_jobs

QUEUED_S: Final = 600.0
"""Until a chain that waits for a slot is checked although nobody woke it."""


def hints_of(ctx: ChainJobContext, kind: ChainJobKind) -> ChainJobHints:
    """Return what is remembered of the Jobs of that kind."""
    return ctx.verification_hints if kind is VERIFICATION else ctx.consolidation_hints


async def has_turn(ctx: ChainJobContext, kind: ChainJobKind, place: ObjectKey, key: ChainKey, slots: int) -> bool:
    """Return whether a slot is free and no other chain waits for longer; one that has to wait is woken by `wake_next`.

    A chain at the head of the queue lists the Jobs, the others need not. Raises ClusterError.
    """
    waiting, now = hints_of(ctx, kind).waiting.setdefault(place, {}), ctx.monotonic()
    waiting[str(key)] = now  # one that waits already keeps its place
    for other in [other for other, seen in waiting.items() if now - seen > 2 * QUEUED_S]:
        del waiting[other]  # its checks fail: it must not hold up the others
    if next(iter(waiting)) != str(key):
        return False
    if await live_jobs(ctx.cluster, kind, place) >= slots:
        return False
    leave_queue(ctx, kind, place, key)  # there may be more slots
    return True


def leave_queue(ctx: ChainJobContext, kind: ChainJobKind, place: ObjectKey, key: ChainKey) -> None:
    """Let a chain no longer wait for a slot of the repository `place`, if it did; the next one is checked again."""
    if hints_of(ctx, kind).waiting.get(place, {}).pop(str(key), None) is not None:
        wake_next(ctx, kind, place)


def wake_next(ctx: ChainJobContext, kind: ChainJobKind, place: ObjectKey) -> None:
    """Check the chain again that waits for a slot of the repository `place` for longest."""
    hints = hints_of(ctx, kind)
    if waiting := hints.waiting.get(place):
        ctx.again(Key.of_chain(place.namespace, ChainKey.parse(next(iter(waiting)))), 1.0)
    else:
        hints.waiting.pop(place, None)
