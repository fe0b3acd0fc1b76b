"""Following a Job that works on a chain: how far its pod is, how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sendense_operator.answer import Answer
from sendense_operator.cluster.kinds import POD
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.provenance import is_pod_of
from sendense_operator.formatting import parse_time
from sendense_operator.reconcile.chain_jobs.claim_turns import wants_claim
from sendense_operator.reconcile.chain_jobs.worked_chain import WorkedChain
from sendense_operator.reconcile.state.context import ChainJobContext
from sendense_operator.reconcile.state.kubernetes_objects import (
    death_of,
    is_deleting,
    is_owned_by,
    job_end,
    newest,
    pod_ip,
    pod_trouble,
    terminated,
)
from sendense_operator.reconcile.workload.job_outcome import is_lingering, last_answer

SOON_S: Final = 1.0


@dataclass(frozen=True)
class RunningJob:
    """The Job has not ended."""

    progress: str | None
    """How far it is; None: nothing new is known."""
    delay: float
    """Seconds until the next check."""


@dataclass(frozen=True)
class EndedJob:
    """The Job has ended."""

    job: Obj
    pod: Obj | None
    answer: Answer | None

    @property
    def death(self) -> str:
        """What ended it without an answer, in words."""
        death = death_of(self.pod) if self.pod is not None else "its pod is gone"
        end = job_end(self.job)
        return f"{death}{f' ({end.message})' if end and end.message else ''}"

    @property
    def pod_end(self) -> datetime | None:
        """When its worker ended, by the clock of its node."""
        return parse_time((terminated(self.pod) or {}).get("finishedAt")) if self.pod is not None else None


async def follow_job(ctx: ChainJobContext, chain: WorkedChain, job: Obj) -> RunningJob | EndedJob:
    """Return how far a Job of the chain is. One that holds a claim that is needed is requested to end.

    Raises ClusterError.
    """
    if is_deleting(job) or not is_owned_by(job, chain.obj):
        return RunningJob(None, SOON_S)
    meta = job["metadata"]
    listed = await ctx.cluster.list_objects(POD, chain.namespace, labels=f"job-name={meta['name']}")
    pods = [pod for pod in listed if is_pod_of(pod, job)]
    pod = newest(pods)
    if job_end(job) is None and not (pod is not None and is_lingering(pod, ctx.now())):
        return RunningJob(await _progress(ctx, chain, pod), ctx.settings.wait_poll_seconds)
    return EndedJob(job, pod, last_answer(pods) or ctx.watch_hints.answers.get(meta["uid"]))


async def _progress(ctx: ChainJobContext, chain: WorkedChain, pod: Obj | None) -> str:
    address = pod_ip(pod) if pod is not None else None
    if pod is None or address is None:
        trouble = pod_trouble(pod) if pod is not None else None
        return f"starting: {trouble[0]}: {trouble[1]}"[:256] if trouble is not None else "starting"
    if await wants_claim(ctx, chain.repository_key, chain.repository):
        await ctx.workers.cancel(address)
        return "stopping, since something else needs the repository's claim"
    progress = await ctx.workers.progress(address)
    return (progress.message if progress is not None else "")[:256] or "running"
