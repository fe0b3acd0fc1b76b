"""Restore points served over NBD: read as they are, never written, pinned meanwhile."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from tests.dataplane.host import free_ports
from tests.dataplane.layered_chain import CHUNKS, REPOSITORY_ID, SIZE, LayeredChain, free, remove
from tests.support.chains import uid_of

from sendense_operator.answer import Answer
from sendense_operator.chain.manifest import CHUNK
from sendense_operator.restore_task import TLS_KEYS, TLS_USER, RestoreDisk, RestoreTask, restored_export_name
from sendense_operator.task import PointReference, Stage
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.restore.nbd_serving import serve_point
from sendense_operator.worker.restore.restore_state import RestoreState
from sendense_operator.worker.settings import Settings


class Export:
    """One restore point that is served."""

    def __init__(self, chain: LayeredChain, point: int = 4, tls_dir: Path = Path("none"), **changes: Any) -> None:
        manifest = chain.points[point - 1]
        fields: dict[str, Any] = {
            "namespace": "shop",
            "restore": "look",
            "restore_uid": uid_of(816),
            "vm": "db",
            "repository_id": REPOSITORY_ID,
            "point": PointReference(backup=manifest.backup.name, backup_uid=manifest.backup.uid),
            "disks": [RestoreDisk(index=index, virtual_size=SIZE) for index in (0, 1)],
            "serve": True,
        }
        self.task = RestoreTask(**(fields | changes))
        self.port = free_ports(2)
        self.settings = Settings(
            pod_uid=str(uuid.uuid4()),
            pod_ip="127.0.0.1",
            node_ip="",
            repository=chain.root,
            nbd_base_port=self.port,
            tls_dir=tls_dir,
            pin_wait=0.5,
        )
        self.state = RestoreState(self.task, self.settings, Stopping())

    async def answer(self) -> Answer:
        return await serve_point(self.settings, self.task, self.state)

    def client(self, index: int, keys: Path | None = None) -> Any:
        import nbd  # noqa: PLC0415 - Debian's package: only in the image

        handle = nbd.NBD()
        if keys is not None:
            handle.set_tls(nbd.TLS_REQUIRE)
            handle.set_tls_username(TLS_USER)
            handle.set_tls_psk_file(str(keys))
        handle.set_export_name(restored_export_name(index))
        handle.connect_tcp("127.0.0.1", str(self.port + index))
        return handle

    def digest(self, index: int, keys: Path | None = None) -> str:
        """Return the digest of all bytes that a client reads."""
        handle, found = self.client(index, keys), blake3()
        assert handle.get_size() == SIZE
        for offset in range(0, SIZE, CHUNK):
            found.update(handle.pread(min(CHUNK, SIZE - offset), offset))
        handle.shutdown()
        return found.hexdigest()


@asynccontextmanager
async def served(export: Export) -> AsyncIterator[asyncio.Task[Answer]]:
    """The export, until the block ends."""
    work = asyncio.create_task(export.answer())
    try:
        while export.state.progress().stage is not Stage.SERVING:
            done, _ = await asyncio.wait([work], timeout=0.01)
            if done:
                work.result()
        yield work
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def test_each_disk_reads_as_it_was(chain: LayeredChain) -> None:
    export = Export(chain)
    async with served(export):
        for index in (0, 1):
            found = await asyncio.to_thread(export.digest, index)
            assert found == blake3(chain.content(chain.points[3], index)).hexdigest()
        handle = await asyncio.to_thread(export.client, 0)
        assert handle.is_read_only()
        handle.shutdown()


def key_in(folder: Path, key: str) -> Path:
    """Return a file with a key, in a new folder."""
    folder.mkdir()
    (folder / TLS_KEYS).write_text(f"{TLS_USER}:{key}\n")
    return folder / TLS_KEYS


async def test_with_tls_only_clients_with_the_key_are_served(
    chain: LayeredChain, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import nbd  # noqa: PLC0415 - Debian's package: only in the image

    key = secrets.token_hex(32)
    keys, others = key_in(tmp_path / "own", key), key_in(tmp_path / "other", secrets.token_hex(32))
    export = Export(chain, tls_dir=keys.parent, serve_tls=True)
    async with served(export):
        for index in (0, 1):
            found = await asyncio.to_thread(export.digest, index, keys)
            assert found == blake3(chain.content(chain.points[3], index)).hexdigest()
        handle = await asyncio.to_thread(export.client, 0, keys)
        assert handle.get_tls_negotiated()
        handle.shutdown()
        with pytest.raises(nbd.Error, match="server requires TLS"):
            await asyncio.to_thread(export.client, 0)
        with pytest.raises(nbd.Error, match="gnutls_handshake"):
            await asyncio.to_thread(export.client, 0, others)
        arguments = await asyncio.to_thread(_arguments)
        assert "tls-creds-psk" in arguments, "the servers are among them"
        assert key not in arguments
        copy = tmp_path / "copy.raw"
        done = await asyncio.to_thread(_converted, export.port, keys.parent, copy)
        assert done.returncode == 0, done.stderr
        assert blake3(copy.read_bytes()).digest() == blake3(chain.content(chain.points[3], 0)).digest()
    assert key not in "".join(capfd.readouterr())


def _arguments() -> str:
    """Return the arguments of all processes."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            found.append(entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return "\n".join(found)


def _converted(port: int, keys: Path, copy: Path) -> subprocess.CompletedProcess[str]:
    """Read a disk with qemu's own client, as the documentation says."""
    creds = f"tls-creds-psk,id=tls,endpoint=client,dir={keys}"
    source = f"driver=nbd,host=127.0.0.1,port={port},export=disk-0,tls-creds=tls"
    command = ["qemu-img", "convert", "-O", "raw", "--object", creds, "--image-opts", source, str(copy)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


async def test_without_its_key_an_export_with_tls_does_not_start(chain: LayeredChain, tmp_path: Path) -> None:
    with pytest.raises(WorkerError) as caught:
        await Export(chain, tls_dir=tmp_path, serve_tls=True).answer()
    assert caught.value.reason == Reason.EXPORT_FAILED
    assert "keys.psk" in caught.value.message


async def test_its_layers_are_kept_while_it_is_served(chain: LayeredChain) -> None:
    export = Export(chain, point=5)
    file = chain.root / chain.points[4].disks[0].file
    async with served(export):
        remove(chain, 5)
        assert set(free(chain)) == {export.settings.pod_uid}
        assert await asyncio.to_thread(export.digest, 0) == blake3(chain.content(chain.points[4])).hexdigest()
    assert free(chain) == []
    assert not file.exists()


async def test_it_ends_when_its_time_is_over(chain: LayeredChain) -> None:
    answer = await Export(chain, serve_seconds=0.2).answer()
    assert (answer.outcome, answer.message) == ("Completed", "the time of the export is over")


async def test_a_server_that_dies_ends_the_attempt(chain: LayeredChain, monkeypatch: pytest.MonkeyPatch) -> None:
    from sendense_operator.worker.restore import nbd_serving  # noqa: PLC0415 - what it starts is kept

    started = []
    start = nbd_serving._start

    async def kept(*arguments: Any) -> Any:
        started.append(await start(*arguments))
        return started[-1]

    monkeypatch.setattr(nbd_serving, "_start", kept)
    async with served(Export(chain)) as work:
        started[1].process.kill()
        with pytest.raises(WorkerError) as caught:
            await work
    assert caught.value.reason == Reason.EXPORT_FAILED
    assert all(server.gone for server in started)


@pytest.mark.parametrize("harm", ["gone", "truncated"])
async def test_what_can_not_be_served(chain: LayeredChain, harm: str) -> None:
    export = Export(chain)
    if harm == "gone":
        remove(chain, 4)
    else:
        layer: Path = chain.root / chain.points[3].disks[1].file
        with layer.open("r+b") as file:
            file.truncate(CHUNKS * 1024)
    with pytest.raises(WorkerError) as caught:
        await export.answer()
    assert caught.value.reason == (Reason.RESTORE_POINT_GONE if harm == "gone" else Reason.RESTORE_POINT_DAMAGED)
    assert chain.points[3].backup.name in caught.value.message
