"""Restores by two pods: one serves disks and digest lists with TLS, the other writes what it has proven."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from tests.dataplane.layered_chain import SIZE, LayeredChain
from tests.dataplane.restoring import RESTORE_UID, Run, assert_nothing_left, assert_restored, data_bytes, names
from tests.dataplane.test_nbd_serving import Export, key_in, served

from sendense_operator.answer import Answer
from sendense_operator.chain import layout
from sendense_operator.chain.manifest import CHUNK
from sendense_operator.restore_task import IMAGE
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.restore.receiving_run import run_receiver
from sendense_operator.worker.restore.target_place import PARTIAL_IMAGE


class Receiver(Run):
    """One attempt of the pod that writes; it has no repository."""

    def __init__(self, chain: LayeredChain, targets: Path, export: Export, **changes: Any) -> None:
        super().__init__(chain, targets, sender="127.0.0.1", **changes)
        self.settings = replace(
            self.settings,
            repository=targets / "no-repository",
            nbd_base_port=export.port,
            tls_dir=export.settings.tls_dir,
            sender_wait=0.5,
        )

    async def answer(self) -> Answer:
        return await run_receiver(self.settings, self.task, self.state, self.on_step)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return key_in(tmp_path / "keys", secrets.token_hex(32)).parent


def sender(chain: LayeredChain, keys: Path, **changes: Any) -> Export:
    fields: dict[str, Any] = {"serve_tls": True, "serve_digests": True, "restore": "back", "restore_uid": RESTORE_UID}
    return Export(chain, tls_dir=keys, **(fields | changes))


async def test_all_disks_are_restored_and_proven(sound: LayeredChain, targets: Path, keys: Path) -> None:
    export = sender(sound, keys)
    async with served(export):
        run = Receiver(sound, targets, export)
        answer = await run.answer()
    assert (answer.outcome, answer.message) == ("Completed", "")
    assert run.steps == [*("marker", "image") * 2, *("finish",) * 2, *("publish",) * 2, *("conclude",) * 2]
    assert_restored(sound, targets, 4)
    assert [disk.written_bytes for disk in answer.restored] == [data_bytes(sound, 4, index) for index in (0, 1)]
    assert all(disk.completed for disk in run.state.progress().disks)


async def test_a_lost_sender_is_worth_another_attempt(sound: LayeredChain, targets: Path, keys: Path) -> None:
    export = sender(sound, keys)
    async with served(export) as work:
        run = Receiver(sound, targets, export)
        run.after_chunks(1, lambda: work.get_loop().call_soon_threadsafe(work.cancel))
        run.state.add = _slowed(run.state.add, work)  # type: ignore[method-assign]
        error = await run.error()
    assert error.reason == Reason.SENDER_LOST
    assert PARTIAL_IMAGE in names(targets), "the next attempt continues it"
    export = sender(sound, keys)
    async with served(export):
        answer = await Receiver(sound, targets, export).answer()
    assert answer.outcome == "Completed"
    assert_restored(sound, targets, 4)


def _slowed(add: Any, work: asyncio.Task[Answer]) -> Any:
    """Return `add`, which then waits until the sender has ended."""

    def counted(length: int) -> None:
        add(length)
        deadline = 2000
        while not work.done() and deadline:
            deadline -= 1
            time.sleep(0.005)

    return counted


async def test_no_sender(sound: LayeredChain, targets: Path, keys: Path) -> None:
    error = await Receiver(sound, targets, sender(sound, keys)).error()
    assert (error.reason, error.disk_index) == (Reason.SENDER_LOST, 0)
    assert_nothing_left(targets)


async def test_another_key(sound: LayeredChain, targets: Path, keys: Path, tmp_path: Path) -> None:
    export = sender(sound, keys)
    async with served(export):
        run = Receiver(sound, targets, export)
        run.settings = replace(run.settings, tls_dir=key_in(tmp_path / "other", secrets.token_hex(32)).parent)
        error = await run.error()
    assert error.reason == Reason.SENDER_LOST
    assert_nothing_left(targets)


async def test_disks_without_tls_are_not_read(sound: LayeredChain, targets: Path, keys: Path) -> None:
    """Whoever answers in the sender's place has to have the key, for the disks as for the digests."""
    export = sender(sound, keys, serve_tls=False)
    async with served(export):
        error = await Receiver(sound, targets, export).error()
    assert error.reason == Reason.SENDER_LOST
    assert not (targets / "disk-0" / IMAGE).exists()


@pytest.mark.parametrize("allow", [False, True])
async def test_damage_is_never_written(chain: LayeredChain, targets: Path, keys: Path, allow: bool) -> None:
    chain.flip(chain.points[0], 4)
    export = sender(chain, keys)
    async with served(export):
        run = Receiver(chain, targets, export, allow_damaged=allow)
        if allow:
            answer = await run.answer()
            assert answer.restored[0].damaged_bytes > 0
            assert answer.restored[0].damaged[0].offset == 4 * CHUNK
        else:
            error = await run.error()
            assert error.reason == Reason.RESTORE_POINT_DAMAGED
            assert f"byte {4 * CHUNK} of the disk" in error.message
            assert_nothing_left(targets)


async def test_a_digest_list_that_the_manifest_does_not_name(chain: LayeredChain, keys: Path) -> None:
    found = chain.root / layout.digests_of(PurePosixPath(chain.points[3].disks[0].file))
    content = bytearray(found.read_bytes())
    content[0] ^= 1
    found.chmod(0o600)
    found.write_bytes(content)
    with pytest.raises(WorkerError) as caught:
        await sender(chain, keys, serve_seconds=0.2).answer()
    assert caught.value.reason == Reason.RESTORE_POINT_DAMAGED


async def test_a_list_of_another_length_is_not_read(sound: LayeredChain, targets: Path, keys: Path) -> None:
    export = sender(sound, keys)
    async with served(export):
        run = Receiver(sound, targets, export, size=SIZE + 64 * CHUNK)
        error = await run.error()
    assert error.reason == Reason.DISKS_CHANGED
    assert_nothing_left(targets)
