"""Kubernetes Events about our objects."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Final, Literal

from sendense_operator.cluster.api_client import Cluster
from sendense_operator.cluster.errors import AlreadyExistsError, ClusterError
from sendense_operator.cluster.kinds import EVENT
from sendense_operator.cluster.objects import Obj
from sendense_operator.logs import get_logger

_COMPONENT: Final = "sendense-controller"
_MESSAGE_LIMIT: Final = 1000
_log = get_logger(__name__)

EventType = Literal["Normal", "Warning"]


class EventRecorder:
    """Posts Events. One that was posted before gets a higher count: its name is made of what it says."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def post(self, obj: Obj, kind: EventType, reason: str, message: str) -> None:
        """Tell about `obj`. Never fails: an Event that can't be posted is logged and forgotten."""
        event = build_event(obj, kind, reason, message, datetime.now(UTC))
        _log.info("event", reason=reason, message=message)
        try:
            await self._post(event)
        except ClusterError as error:
            _log.info("event not posted", reason=reason, error=error)

    async def _post(self, event: Obj) -> None:
        meta = event["metadata"]
        try:
            await self._cluster.create(EVENT, event)
        except AlreadyExistsError:
            present = await self._cluster.get(EVENT, meta["namespace"], meta["name"])
            patch = {"count": int(present.get("count") or 1) + 1, "lastTimestamp": event["lastTimestamp"]}
            await self._cluster.merge_patch(EVENT, meta["namespace"], meta["name"], patch)


def build_event(obj: Obj, kind: EventType, reason: str, message: str, now: datetime) -> Obj:
    """Return a core/v1 Event about `obj`."""
    meta = obj["metadata"]
    digest = hashlib.sha256("\0".join([meta["uid"], kind, reason, message]).encode()).hexdigest()[:16]
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "metadata": {"namespace": meta["namespace"], "name": f"{meta['name']}.{digest}"},
        "involvedObject": {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
        "type": kind,
        "reason": reason,
        "message": message[:_MESSAGE_LIMIT],
        "source": {"component": _COMPONENT},
        "reportingComponent": _COMPONENT,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
