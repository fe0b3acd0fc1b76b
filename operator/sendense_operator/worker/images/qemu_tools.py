"""The QEMU tools: option strings for them, and creation, checks and maps of images."""

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
"""Largest request in bytes: detect-zeroes examines a request as a whole, so smaller ones keep the image sparse."""
WRITE_CACHE: Final = 4 << 20
"""Bytes of L2 tables that QEMU caches for the layer that is written; they describe 32 GiB of the disk."""
READ_CACHE: Final = 256 << 10
"""Bytes of L2 tables that QEMU caches for each layer that is only read; they describe 2 GiB of the disk. The default,
up to 32 MiB per layer, grows with depth times virtual size: for 31 layers of a 256 GiB disk it is 1 GiB, with this
value 30 MiB."""
_CACHE_ENTRY: Final = qcow2.SMALLEST_CLUSTER
"""Bytes per entry of such a cache: small, so that the entries follow the position of the reader."""
_MESSAGE_KEPT: Final = 500
"""Characters of a tool's message that are kept."""
_CHECK_OK: Final = 0
_CHECK_CORRUPT: Final = 2
_CHECK_LEAKS: Final = 3
"""After any other exit code the check did not run to its end, and nothing is known about the content."""


@dataclass(frozen=True)
class IoMode:
    """How qemu-nbd accesses an image's file."""

    aio: str
    """Value of the option `aio`."""
    direct: bool
    """Whether it uses O_DIRECT."""


IO_MODES: Final = (
    IoMode("io_uring", True),
    IoMode("native", True),
    IoMode("threads", True),
    IoMode("io_uring", False),
    IoMode("threads", False),
)
"""I/O modes, best first. Seccomp may refuse io_uring, AIO limits may refuse native, file systems refuse O_DIRECT."""


JSON_IMAGE: Final = "json:"
"""Start of an image that is described in JSON instead of by an option string."""


def safe_path(path: Path) -> str:
    """Return `path` for use in an option string: absolute, without characters that have a meaning for QEMU.

    Raises ValueError; this is a programming error, because the worker's own paths are all safe.
    """
    text = str(path)
    if not _SAFE_PATH.fullmatch(text) or ".." in path.parts:
        raise ValueError(f"not a path for qemu: {text!r}")
    return text


def safe_sibling(path: Path, name: str) -> str:
    """Return `name` for use as the backing name of `path`: a file in the same folder. Raises ValueError as above."""
    if safe_path(path.with_name(name)).rpartition("/")[2] != name:
        raise ValueError(f"not the name of a file in the same folder: {name!r}")
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
    """Return the options that bound the L2 caches of a stack of `layers` layers; `top`: bytes for the top layer."""
    options = []
    for depth in range(layers):
        size = top if depth == 0 else READ_CACHE
        options += [f"{prefix}l2-cache-size={size}", f"{prefix}l2-cache-entry-size={_CACHE_ENTRY}"]
        prefix += "backing."
    return options


def serve_options(path: Path, mode: IoMode, refuse_zeroes: bool, layers: int) -> str:
    """Return the image options of an export for the VMA; `layers`: number of layers of its stack, `path` included.

    With `refuse_zeroes`, WRITE_ZEROES is answered with EIO: the VMA detects zeroes by samples only, and after the error
    it reads and writes the block instead (vma-contract 3.9).
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
    """Return the image options of a read-only export for the worker itself; `layers` as for `serve_options`."""
    return ",".join(["driver=qcow2", *_file_options(path, mode, ""), *_cache_options(layers, READ_CACHE, "")])


def alone_options(path: Path, mode: IoMode) -> str:
    """Return the image of a read-only export of one layer, which reads as zeroes where it defines nothing.

    It is in JSON, because QEMU's option strings have no null, which stands for: the layers below it are not opened.
    """
    file = {"driver": "file", "aio": mode.aio, "cache": {"direct": mode.direct}, "filename": safe_path(path)}
    bounds = {"l2-cache-size": READ_CACHE, "l2-cache-entry-size": _CACHE_ENTRY}
    image = {"driver": "qcow2", "backing": None, "cache": {"direct": mode.direct}, **bounds, "file": file}
    return JSON_IMAGE + json.dumps(image, separators=(",", ":"))


def raw_options(path: Path) -> str:
    """Return the image options of a read-only export of a file as it is."""
    return f"driver=raw,file.driver=file,file.filename={safe_path(path)}"


def write_options(path: Path, mode: IoMode, layers: int) -> str:
    """Return the image options of an export to which the worker itself writes; `layers` as for `serve_options`.

    The layer itself is written through the page cache: many small writes are so several times faster than with
    O_DIRECT. Making it durable is up to the caller.
    """
    cached = IoMode("threads" if mode.aio == "native" else mode.aio, direct=False)  # native needs O_DIRECT
    return ",".join(["driver=qcow2", *_file_options(path, cached, ""), *_cache_options(layers, WRITE_CACHE, "")])


def _map_options(path: Path, layers: int) -> str:
    file = ["driver=qcow2", "file.driver=file", f"file.filename={safe_path(path)}"]
    return ",".join([*file, *_cache_options(layers, READ_CACHE, "")])


def _alone(path: Path) -> str:
    """`path` as a file name that opens this layer without those below it."""
    file = {"driver": "file", "filename": safe_path(path)}
    return JSON_IMAGE + json.dumps({"driver": "qcow2", "backing": None, "file": file}, separators=(",", ":"))


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
    """Run a tool and return (exit code, stdout, stderr). Raises WorkerError if it can't be started.

    The tool is killed if the caller is cancelled.
    """
    async with _running(*command) as process:
        out, err = await process.communicate()
        return process.returncode or 0, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def last_line(text: str, image: str = "", name: str = "") -> str:
    """Return the last line of a tool's output, shortened. `image`: the argument to replace in it by `name`."""
    if image:
        text = text.replace(image, name)
    lines = text.strip().splitlines()
    if not lines:
        return "no message"
    half = _MESSAGE_KEPT // 2
    # Both ends are kept: the first part says what could not be opened, the last part why.
    return lines[-1] if len(lines[-1]) <= _MESSAGE_KEPT else f"{lines[-1][:half]} … {lines[-1][-half:]}"


def _unfinished(path: Path, command: str, code: int, detail: str) -> WorkerError:
    """Return the error for a tool that did not run to its end, such as for want of descriptors. A retry may help."""
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return WorkerError(Reason.STORAGE_ERROR, f"{path.name}: qemu-img {command} {how}: {detail}")


async def version() -> str:
    """Return the version of the QEMU tools, such as `7.2.22`."""
    _, out, _ = await _run("qemu-img", "--version")
    match = re.search(r"version ([^ ]+)", out)
    return match.group(1) if match else "unknown"


def read_vmdk_options(path: Path, mode: IoMode, part: tuple[int, int] | None) -> str:
    """Return the image options of a read-only export of a VMDK image; `part`: its offset and length in the file."""
    if part is None:
        return ",".join(["driver=vmdk", *_file_options(path, mode, "")])
    window = ["file.driver=raw", f"file.offset={part[0]}", f"file.size={part[1]}"]
    return ",".join(["driver=vmdk", *window, *_file_options(path, mode, "file.")])


async def format_file(path: Path, virtual_size: int, options: str) -> None:
    """Make an empty QCOW2 image in an empty file, which the caller has created. Raises WorkerError."""
    code, _, err = await _run(
        "qemu-img", "create", "-q", "-f", "qcow2", "-o", options, safe_path(path), str(virtual_size)
    )
    if code != 0:
        raise WorkerError(Reason.STORAGE_ERROR, f"qemu-img create: {last_line(err)}")
    read_header(path, virtual_size)


async def create(path: Path, virtual_size: int, backing: str | None = None) -> None:
    """Create an empty layer of `virtual_size` bytes: a full, or an increment on `backing`. Raises WorkerError.

    The backing name is an argument of its own, because a comma inside `-o` begins another option. The layers below are
    not opened (`-u`); opening the new layer later fails if they are missing.
    """
    try:
        # The tool follows a link at this path, and truncates what it finds there.
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


async def drop_backing(path: Path, virtual_size: int) -> None:
    """Turn an increment that covers its whole disk of `virtual_size` bytes into a full. Raises WorkerError.

    Only the header changes.
    """
    code, _, err = await _run("qemu-img", "rebase", "-u", "-b", "", "-f", "qcow2", safe_path(path))
    if code != 0:
        raise WorkerError(Reason.STORAGE_ERROR, f"qemu-img rebase: {last_line(err)}")
    read_header(path, virtual_size)


def read_header(path: Path, virtual_size: int, backing: str | None = None) -> qcow2.Header:
    """Return an image's header, checked before the image is opened. Raises WorkerError, ImageCorrupt if it is wrong."""
    try:
        header = qcow2.parse(read_regular(path, qcow2.HEADER_BYTES))
        qcow2.check_header(header, virtual_size, backing)
    except qcow2.HeaderError as error:
        raise WorkerError(Reason.IMAGE_CORRUPT, f"{path.name}: {error}") from error
    except OSError as error:
        raise reading_error(error, path.name) from error
    return header


async def check(path: Path) -> None:
    """Run `qemu-img check`; leaked clusters are accepted.

    Raises WorkerError: ImageCorrupt if the check found corruption, StorageError if it did not run to its end.
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


async def map_layer(path: Path, virtual_size: int, chunk: int, layers: int, merged: int = 1) -> LayerMap:
    """Return the extents of an image that `check` accepted; `layers` as for `serve_options`.

    `merged`: number of layers, from the top, that count as the one whose extents these are.

    Raises WorkerError StorageError; such a failure says nothing about the image's content.
    """
    layer, flaw = LayerMap(virtual_size, chunk, merged), ""
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
        except ValueError as error:  # a MapError, a line that is too long, bytes that are not UTF-8
            flaw = str(error) or type(error).__name__
            while await process.stdout.read(1 << 16):
                pass  # until the tool has ended: its exit code and message may give the cause
        err = await process.stderr.read()
        code = await process.wait()
    if code != 0 or flaw:
        output = err.decode("utf-8", "replace").strip()
        raise _unfinished(path, "map", code, last_line(output, image, path.name) if output else flaw)
    return layer
