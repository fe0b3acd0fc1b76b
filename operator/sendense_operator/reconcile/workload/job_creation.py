"""Creation of a Job whose pod is known to be allowed."""

from __future__ import annotations

from sendense_operator.cluster.api_client import Cluster
from sendense_operator.cluster.kinds import JOB, POD
from sendense_operator.cluster.objects import Obj


async def create_job(cluster: Cluster, job: Obj) -> None:
    """Create a Job once its pod is known to be allowed: a Job would try in vain until its deadline.

    Raises AlreadyExistsError, and ForbiddenError or InvalidError with what keeps the pod from being created.
    """
    meta, template = job["metadata"], job["spec"]["template"]
    pod = {
        "metadata": {**template["metadata"], "namespace": meta["namespace"], "name": meta["name"]},
        "spec": template["spec"],
    }
    await cluster.create(POD, pod, dry_run=True)
    await cluster.create(JOB, job)
