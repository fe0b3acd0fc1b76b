"""This machine: waiting, ports, paths of modules, a small file system."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import poll

CHECKOUT = Path(__file__).parents[2]
WAIT = 180.0
SMALL_FOLDER = "SENDENSE_TEST_SMALL_FOLDER"
"""Environment variable that names an empty file system of SMALL_BYTES."""
SMALL_BYTES = 64 << 20


def until(check: Callable[[], Any], what: str) -> Any:
    """Return the first true value of `check`."""
    return poll(check, what, WAIT)


def python_path(folder: str) -> str:
    """PYTHONPATH of a program in a folder of the checkout; what this process was given stays behind it."""
    return os.pathsep.join(filter(None, [str(CHECKOUT / folder), os.environ.get("PYTHONPATH")]))


def free_ports(count: int) -> int:
    """Return the first of `count` TCP ports in a row that nobody listens on."""
    # Each process of a parallel run has a thousand of its own, so that none takes another's before it is used.
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for first in range(20000 + 1000 * process, 21000 + 1000 * process, count):
        taken = []
        try:
            for port in range(first, first + count):
                taken.append(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue
        finally:
            for one in taken:
                one.close()
        return first
    raise AssertionError("no free ports")


@contextmanager
def small_file_system(folder: Path) -> Iterator[Path | None]:
    """An empty file system of SMALL_BYTES, mounted on `folder` unless there is one; None where neither can be."""
    if SMALL_FOLDER in os.environ:
        with (Path(tempfile.gettempdir()) / "small-file-system.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the processes of a parallel run share it
            small = Path(os.environ[SMALL_FOLDER])
            _empty(small)
            try:
                yield small
            finally:
                _empty(small)
        return
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_BYTES}", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    mounted = mounted and subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def almost_full(place: Path, mount: str, free_bytes: int) -> Iterator[Path]:
    """Folder of claims with the empty folder `mount` in it, on a small file system with that much room; else skips."""
    place.mkdir()
    with small_file_system(place) as folder:
        if folder is None:
            pytest.skip("no small file system")
        targets = folder / "targets"
        (targets / mount).mkdir(parents=True)
        found = os.statvfs(folder)
        (targets / "ballast").write_bytes(bytes(found.f_bavail * found.f_frsize - free_bytes))
        yield targets
