"""Every version of an object, as a watch shows them: for claims about how a status changes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import httpx
from tests.support.kube import Kube, path_of
from tests.support.objects import Obj
from tests.support.waiting import until

HELD_FOR_WORKER = "backup.sendense.io/worker"
"""Finalizer of a Backup whose worker, or what was made for it, may be there."""


@dataclass
class Recording:
    """Versions in order, each with the moment at which it was seen (monotonic seconds)."""

    versions: list[tuple[float, Obj]] = field(default_factory=list)

    def statuses(self) -> list[Obj]:
        """Of each version that has one."""
        return [obj["status"] for _, obj in self.versions if "status" in obj]

    def wait_last(self, phase: str) -> None:
        """For wait_for: until the newest version is of that phase and is not held for its worker any more."""
        newest = self.versions[-1][1] if self.versions else {}
        held = newest.get("metadata", {}).get("finalizers", [])
        found = newest.get("status", {}).get("phase")
        until(found == phase and HELD_FOR_WORKER not in held, (found, held))


@contextmanager
def recorded(kube: Kube, kind: str, name: str, namespace: str) -> Iterator[Recording]:
    """What happens to an object while the block runs; the object may not be there yet."""
    recording = Recording()
    query = {"watch": "true", "fieldSelector": f"metadata.name={name}"}
    # The read time-out ends the thread should the block's end not reach it.
    with kube.http.stream("GET", f"/{path_of(kind, namespace)}", params=query, timeout=600) as response:
        thread = threading.Thread(target=_read, args=(response, recording), daemon=True)
        thread.start()
        yield recording


def _read(response: httpx.Response, recording: Recording) -> None:
    with suppress(httpx.HTTPError):
        for line in response.iter_lines():
            recording.versions.append((time.monotonic(), json.loads(line)["object"]))
