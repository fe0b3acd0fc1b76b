"""One attempt of a restore, and what it leaves in the folders that stand for claims."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from tests.dataplane.layered_chain import CHUNKS, REPOSITORY_ID, SIZE, LayeredChain
from tests.support.chains import uid_of

from sendense_operator.answer import Answer
from sendense_operator.chain.manifest import CHUNK
from sendense_operator.restore_task import IMAGE, RestoreDisk, RestoreTask
from sendense_operator.task import PointReference, Stage
from sendense_operator.worker.errors import WorkerError
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.restore.restore_run import run_restore
from sendense_operator.worker.restore.restore_state import RestoreState
from sendense_operator.worker.restore.target_marker import MARKER
from sendense_operator.worker.restore.target_place import PARTIAL_IMAGE
from sendense_operator.worker.settings import Settings

RESTORE_UID = uid_of(815)
MIB = 1 << 20
LAST = SIZE - (CHUNKS - 1) * CHUNK


class KilledError(BaseException):
    """What the tests raise where a process would be killed: nothing reacts to it."""


class Run:
    """One attempt of a restore."""

    def __init__(
        self,
        chain: LayeredChain,
        targets: Path,
        point: int = 4,
        disks: tuple[int, ...] = (0, 1),
        *,
        size: int = SIZE,
        **changes: Any,
    ) -> None:
        manifest = chain.points[point - 1]
        fields: dict[str, Any] = {
            "namespace": "shop",
            "restore": "back",
            "restore_uid": RESTORE_UID,
            "vm": "db",
            "repository_id": REPOSITORY_ID,
            "point": PointReference(backup=manifest.backup.name, backup_uid=manifest.backup.uid),
            "disks": [RestoreDisk(index=index, virtual_size=size, claim=f"data-{index}") for index in disks],
        }
        self.task = RestoreTask(**(fields | changes))
        self.settings = Settings(
            pod_uid=str(uuid.uuid4()),
            pod_ip="127.0.0.1",
            node_ip="",
            repository=chain.root,
            targets=targets,
            mark_wait=0.5,
            pin_wait=0.5,
        )
        self.state = RestoreState(self.task, self.settings, Stopping())
        self.steps = list[str]()
        self.kill_at: int | None = None

    def on_step(self, name: str) -> None:
        if len(self.steps) == self.kill_at:
            raise KilledError
        self.steps.append(name)

    def after_chunks(self, count: int, react: Callable[[], object]) -> None:
        """Call `react` in the thread that has written the chunk with this number."""
        add, numbers, lock = self.state.add, iter(range(1, 1000)), threading.Lock()

        def counted(length: int) -> None:
            add(length)
            if self.state.progress().stage is Stage.RESTORING:
                with lock:
                    number = next(numbers)
                if number == count:
                    react()

        self.state.add = counted  # type: ignore[method-assign]

    async def stop_in_the_middle(self, *, requested: bool) -> None:
        """Cancel it on request, or end it by a signal, after two chunks, and wait until it has stopped."""
        loop, stopping, stopped = asyncio.get_running_loop(), self.state.stopping, threading.Event()

        def stop() -> None:
            (stopping.request if requested else stopping.terminate)()
            stopped.set()

        def react() -> None:
            loop.call_soon_threadsafe(stop)
            stopped.wait(10)

        self.after_chunks(2, react)
        work = asyncio.create_task(self.answer())
        stopping.ends(work)
        with pytest.raises(asyncio.CancelledError):
            await work

    async def answer(self) -> Answer:
        return await run_restore(self.settings, self.task, self.state, self.on_step)

    async def error(self) -> WorkerError:
        with pytest.raises(WorkerError) as caught:
            await self.answer()
        return caught.value


def names(targets: Path, index: int = 0) -> list[str]:
    return sorted(path.name for path in (targets / f"disk-{index}").iterdir() if path.name != "lost+found")


def image(targets: Path, index: int = 0) -> Path:
    return targets / f"disk-{index}" / IMAGE


def partial(targets: Path, index: int = 0) -> Path:
    return targets / f"disk-{index}" / PARTIAL_IMAGE


def marker(targets: Path, index: int = 0) -> Path:
    return targets / f"disk-{index}" / MARKER


def assert_restored(chain: LayeredChain, targets: Path, point: int = 4, disks: tuple[int, ...] = (0, 1)) -> None:
    for index in disks:
        assert names(targets, index) == [IMAGE]
        expected = chain.content(chain.points[point - 1], index)
        assert blake3(image(targets, index).read_bytes()).digest() == blake3(expected).digest()


def assert_nothing_left(targets: Path, disks: tuple[int, ...] = (0, 1)) -> None:
    for index in disks:
        assert names(targets, index) == []


def data_bytes(chain: LayeredChain, point: int, index: int) -> int:
    content = chain.contents[chain.points[point - 1].disks[index].file]
    return sum(min(CHUNK, SIZE - at * CHUNK) for at, value in enumerate(content) if value)
