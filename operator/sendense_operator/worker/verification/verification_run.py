"""One verification of restore points of a chain, from the task to the answer.

The chain's lock is not held while layers are read, so that a backup can run meanwhile. A pin keeps the layers of the
restore point that is being read from being freed.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from sendense_operator.answer import Answer, PointResult
from sendense_operator.task import VerificationTask
from sendense_operator.worker.images.damage_marks import DamageMarks
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.point_lookup import locate_chain, read_listing
from sendense_operator.worker.storage.repository_marker import open_repository
from sendense_operator.worker.verification.point_verification import PointVerification
from sendense_operator.worker.verification.run_state import VerificationState
from sendense_operator.worker.verification.summary import MOST_TEXT, describe_damage, describe_failures


async def run_verification(settings: Settings, task: VerificationTask, state: VerificationState) -> Answer:
    """Verify the restore points of a task, and return the answer. `state` always has the results so far.

    Raises WorkerError if nothing can be concluded at all.
    """
    root, paths = locate_chain(settings, task, task.points)
    open_repository(root, task.repository_id)
    runtime = Path(tempfile.mkdtemp(prefix="sendense-"))
    marks = DamageMarks(root, paths, settings.pod_uid)
    try:
        verification = PointVerification(
            settings, task, state, root, await read_listing(root, paths, settings), marks, runtime
        )
        for position in range(len(task.points)):
            state.begin(position)
            await verification.verify(position)
            await marks.write(wait=0)
        if not await marks.write(wait=0):
            state.say("waiting for the chain's lock to mark restore points")
            await marks.write(settings.mark_wait)
    except asyncio.CancelledError:
        await marks.write(wait=0)  # the pod may have only seconds left
        raise
    finally:
        state.limit.stop()
        shutil.rmtree(runtime, ignore_errors=True)
    return _answer(task, state, verification)


def _answer(task: VerificationTask, state: VerificationState, verification: PointVerification) -> Answer:
    errors = verification.errors
    results = "".join(state.results)
    if errors and not {PointResult.VERIFIED, PointResult.DAMAGED} & set(state.results):
        first = errors[0][1]
        return Answer(
            outcome="Failed",
            reason=first.reason,
            message=first.message,
            results=results,
            read_bytes=state.read_bytes,
        )
    failures = describe_failures([(name, error.message) for name, error in errors], len(task.points))
    texts = (describe_damage(tuple(verification.damaged.values()), verification.total), failures)
    return Answer(
        outcome="Completed",
        message=" ".join(text for text in texts if text)[:MOST_TEXT],
        results=results,
        read_bytes=state.read_bytes,
    )
