"""The qemu tools: option strings of paths of ours only, and images that are created, checked and mapped."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sendense_operator.chain import qcow2
from sendense_operator.chain.extents import LayerMap, parse_line
from sendense_operator.worker.errors import Reason, WorkerError, reading_error, storage_error
from sendense_operator.worker.storage.durable_io import open_new, read_regular

CREATE_OPTIONS: Final = "cluster_size=128k,extended_l2=on"
_SAFE_PATH: Final = re.compile(r"^(/[A-Za-z0-9._-]+)+$")
_MAX_TRANSFER: Final = 1 << 20
"""detect-zeroes works in steps of a request: smaller ones keep the image sparse."""
WRITE_CACHE: Final = 4 << 20
"""Bytes of L2 tables that qemu keeps of a layer that is written: they describe 32 GiB of the disk."""
READ_CACHE: Final = 256 << 10
"""The same of a layer that is only read: 2 GiB of the disk. The default, up to 32 MiB per layer, grows with depth times
virtual size: 31 layers of a 256 GiB disk take 1 GiB, these 30 MiB."""
_CACHE_ENTRY: Final = qcow2.SMALLEST_CLUSTER
"""Bytes that are read into such a cache at once: small, so that the few that fit lie where the reading is."""
_MESSAGE_KEPT: Final = 500
_CHECK_OK: Final = 0
_CHECK_CORRUPT: Final = 2
_CHECK_LEAKS: Final = 3
"""All other exit codes say nothing about the content: the check did not run to its end."""


@dataclass(frozen=True)
class IoMode:
    """How qemu-nbd touches an image's file."""

    aio: str
    direct: bool


IO_MODES: Final = (
    IoMode("io_uring", True),
    IoMode("native", True),
    IoMode("threads", True),
    IoMode("io_uring", False),
    IoMode("threads", False),
)
"""Best first: io_uring may be refused by seccomp, native by AIO limits, O_DIRECT by the file system."""


def safe_path(path: Path) -> str:
    """`path` as it may stand in an option string: absolute, and of characters that mean nothing to qemu.

    Raises ValueError: no such path is ever made by us, so there is nothing to handle.
    """
    text = str(path)
    if not _SAFE_PATH.fullmatch(text) or ".." in path.parts:
        raise ValueError(f"not a path for qemu: {text!r}")
    return text


def safe_sibling(path: Path, name: str) -> str:
    """`name` as the backing name of `path`: a file beside it. Raises ValueError as `safe_path` does."""
    if safe_path(path.with_name(name)).rpartition("/")[2] != name:
        raise ValueError(f"not a sibling's name: {name!r}")
    return name


def _file_options(path: Path, mode: IoMode, prefix: str) -> list[str]:
    direct = "on" if mode.direct else "off"
    return [
        f"{prefix}cache.direct={direct}",
        f"{prefix}file.driver=file",
        f"{prefix}file.aio={mode.aio}",
        f"{prefix}file.cache.direct={direct}",
        f"{prefix}file.filename={safe_path(path)}",
    ]


def _cache_options(layers: int, top: int, prefix: str) -> list[str]:
    """Bounds of the L2 caches of `layers` layers, one below the other; `top`: bytes for the first."""
    options = []
    for depth in range(layers):
        size = top if depth == 0 else READ_CACHE
        options += [f"{prefix}l2-cache-size={size}", f"{prefix}l2-cache-entry-size={_CACHE_ENTRY}"]
        prefix += "backing."
    return options


def serve_options(path: Path, mode: IoMode, refuse_zeroes: bool, layers: int) -> str:
    """Return the image options of an export for the VMA; `layers`: how many are read through it, itself counted.

    With `refuse_zeroes` WRITE_ZEROES answers EIO: the VMA guesses at zeroes by samples, and this makes it read
    and write the block instead.
    """
    options = [
        "driver=blkdebug",
        f"max-transfer={_MAX_TRANSFER}",
        "image.driver=qcow2",
        "image.discard=unmap",
        "image.detect-zeroes=unmap",
        *_file_options(path, mode, "image."),
        *_cache_options(layers, WRITE_CACHE, "image."),
    ]
    if refuse_zeroes:
        options += ["inject-error.0.event=none", "inject-error.0.iotype=write-zeroes", "inject-error.0.errno=5"]
    return ",".join(options)


def read_options(path: Path, mode: IoMode, layers: int) -> str:
    """Return the image options of a read-only export for ourselves; `layers` as for `serve_options`."""
    return ",".join(["driver=qcow2", *_file_options(path, mode, ""), *_cache_options(layers, READ_CACHE, "")])


def _map_options(path: Path, layers: int) -> str:
    file = ["driver=qcow2", "file.driver=file", f"file.filename={safe_path(path)}"]
    return ",".join([*file, *_cache_options(layers, READ_CACHE, "")])


def _alone(path: Path) -> str:
    """`path` as a file name that opens this layer without those below it."""
    file = {"driver": "file", "filename": safe_path(path)}
    return "json:" + json.dumps({"driver": "qcow2", "backing": None, "file": file}, separators=(",", ":"))


@asynccontextmanager
async def _running(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
    except OSError as error:
        text = f"{command[0]} could not be started: {error.strerror or error}"
        raise WorkerError(Reason.STORAGE_ERROR, text) from error
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _run(*command: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr); killed when the caller is cancelled. Raises WorkerError if it can't be started."""
    async with _running(*command) as process:
        out, err = await process.communicate()
        return process.returncode or 0, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def last_line(text: str, image: str = "", name: str = "") -> str:
    """Return the end of what a tool said, bounded. `image`: our own argument, which it repeats; shown as `name`."""
    if image:
        text = text.replace(image, name)
    lines = text.strip().splitlines()
    if not lines:
        return "no message"
    half = _MESSAGE_KEPT // 2
    # Both ends: what could not be opened stands first, why it could not stands last.
    return lines[-1] if len(lines[-1]) <= _MESSAGE_KEPT else f"{lines[-1][:half]} … {lines[-1][-half:]}"


def _unfinished(path: Path, command: str, code: int, detail: str) -> WorkerError:
    """Of a tool that did not run to its end: no descriptors, a lock, a stale handle, a signal. Worth a retry."""
    how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
    return WorkerError(Reason.STORAGE_ERROR, f"{path.name}: qemu-img {command} {how}: {detail}")


async def version() -> str:
    """Such as `7.2.22`."""
    _, out, _ = await _run("qemu-img", "--version")
    match = re.search(r"version ([^ ]+)", out)
    return match.group(1) if match else "unknown"


async def create(path: Path, virtual_size: int, backing: str | None = None) -> None:
    """Create an empty layer of `virtual_size` bytes: a full, or an increment on `backing`. Raises WorkerError.

    The backing name is an argument of its own: inside `-o` a comma in it would begin another option. The layers below
    are not opened (`-u`): whoever opens the new one finds out whether they are there.
    """
    try:
        # A link in its place would be followed by the tool, which truncates what it finds.
        os.close(open_new(path, 0o644))
    except OSError as error:
        raise storage_error(error, f"creating {path.name}") from error
    parent = [] if backing is None else ["-u", "-b", safe_sibling(path, backing), "-F", "qcow2"]
    code, _, err = await _run(
        "qemu-img", "create", "-q", "-f", "qcow2", "-o", CREATE_OPTIONS, *parent, safe_path(path), str(virtual_size)
    )
    if code != 0:
        raise WorkerError(Reason.STORAGE_ERROR, f"qemu-img create: {last_line(err)}")
    read_header(path, virtual_size, backing)


async def cut_off(path: Path, virtual_size: int) -> None:
    """Make a full of an increment that covers its whole disk of `virtual_size` bytes: only the header changes.

    Raises WorkerError.
    """
    code, _, err = await _run("qemu-img", "rebase", "-u", "-b", "", "-f", "qcow2", safe_path(path))
    if code != 0:
        raise WorkerError(Reason.STORAGE_ERROR, f"qemu-img rebase: {last_line(err)}")
    read_header(path, virtual_size)


def read_header(path: Path, virtual_size: int, backing: str | None = None) -> qcow2.Header:
    """Return the header of an image that is about to be opened. Raises WorkerError, ImageCorrupt unless it fits."""
    try:
        header = qcow2.parse(read_regular(path, qcow2.HEADER_BYTES))
        qcow2.check_header(header, virtual_size, backing)
    except qcow2.HeaderError as error:
        raise WorkerError(Reason.IMAGE_CORRUPT, f"{path.name}: {error}") from error
    except OSError as error:
        raise reading_error(error, path.name) from error
    return header


async def check(path: Path) -> None:
    """`qemu-img check`: leaked clusters only are fine.

    Raises WorkerError: ImageCorrupt for what a check that ran to its end found, StorageError for one that did not.
    """
    image = _alone(path)
    code, out, err = await _run("qemu-img", "check", "--output=json", image)
    if code in (_CHECK_OK, _CHECK_LEAKS):
        return
    if code != _CHECK_CORRUPT:
        raise _unfinished(path, "check", code, last_line(err, image, path.name))
    try:
        found: Any = json.loads(out)
        detail = f"{found.get('corruptions', 0)} corruptions, {found.get('check-errors', 0)} errors"
    except (ValueError, AttributeError):
        detail = last_line(err, image, path.name)
    raise WorkerError(Reason.IMAGE_CORRUPT, f"{path.name}: qemu-img check: {detail}")


async def map_layer(path: Path, virtual_size: int, chunk: int, layers: int) -> LayerMap:
    """Return the extents of an image that `check` found sound; a failing map says nothing about its content.

    `layers` as for `serve_options`. Raises WorkerError StorageError.
    """
    layer, flaw = LayerMap(virtual_size, chunk), ""
    image = _map_options(path, layers)
    async with _running("qemu-img", "map", "--output=json", "--image-opts", image) as process:
        if process.stdout is None or process.stderr is None:
            raise RuntimeError("a process without pipes")
        try:
            async for line in process.stdout:
                extent = parse_line(line.decode())
                if extent is not None:
                    layer.add(extent)
            layer.close()
        except ValueError as error:  # a MapError, a line without an end, bytes that are no text
            flaw = str(error) or type(error).__name__
            while await process.stdout.read(1 << 16):
                pass  # until the tool has ended and says why
        err = await process.stderr.read()
        code = await process.wait()
    if code != 0 or flaw:
        said = err.decode("utf-8", "replace").strip()
        raise _unfinished(path, "map", code, last_line(said, image, path.name) if said else flaw)
    return layer
