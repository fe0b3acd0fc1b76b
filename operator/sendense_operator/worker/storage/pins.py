"""Pins: while a pod reads the layers of a restore point without the chain's lock, its pin keeps them from being freed.

A pin is the file `<vm>/.pins/<pod-uid>` with the paths of the layers, on which its reader holds `flock`. Maintenance
reads the chain first and the pins later. A reader pins first, and checks then that the manifest is still there. So
either maintenance finds the pin, or the reader finds that the restore point was removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sendense_operator.chain import layout
from sendense_operator.chain.freeable_layers import NO_PINS, Pins
from sendense_operator.chain.layout import ChainPaths, LayoutError
from sendense_operator.logs import get_logger
from sendense_operator.worker.errors import Reason, WorkerError, storage_error
from sendense_operator.worker.storage.chain_lock import try_lock
from sendense_operator.worker.storage.durable_io import (
    ensure_folder,
    is_folder,
    list_names,
    open_regular,
    read_regular,
)

log = get_logger(__name__)

_LIMIT: Final = 1 << 20
"""Largest size of a pin in bytes; one of 64 disks with 64 layers each has about 400 KiB."""
_RETRY_SECONDS: Final = 0.1
_MAINTENANCE_WAIT: Final = 10.0
"""Seconds that maintenance waits for `.pins/.lock`, which a reader holds for a moment only."""
_OPEN: Final = os.O_RDWR | os.O_CREAT
_UNKNOWN: Final = "(unknown)"


class Pin:
    """A pin that is held."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path, self._fd = path, fd

    @classmethod
    async def create(
        cls,
        root: Path,
        paths: ChainPaths,
        reader: str,
        layers: Iterable[str],
        is_there: Callable[[], bool],
        wait: float,
    ) -> Pin | None:
        """Pin `layers` for the pod with the UID `reader`; return None if `is_there` then says that they may be freed.

        Waits up to `wait` seconds while maintenance frees layers. Raises WorkerError.
        """
        data = json.dumps(list(layers)).encode()
        deadline = time.monotonic() + wait
        while True:
            try:
                with _locked(root, paths) as is_locked:
                    if is_locked:
                        return cls._create(root / paths.pin(reader), data, is_there)
            except OSError as error:
                raise storage_error(error, "pinning layers") from error
            if time.monotonic() >= deadline:
                raise WorkerError(Reason.CHAIN_BUSY, "maintenance is freeing layers of this chain")
            await asyncio.sleep(_RETRY_SECONDS)

    @classmethod
    def _create(cls, path: Path, data: bytes, is_there: Callable[[], bool]) -> Pin | None:
        fd = open_regular(path, _OPEN)
        pin = cls(path, fd)
        try:
            if not try_lock(fd):
                raise WorkerError(Reason.CHAIN_BUSY, "another process of this pod has pinned layers")
            os.ftruncate(fd, 0)
            written = os.pwrite(fd, data, 0)
            os.fsync(fd)
            if written == len(data) and is_there():
                return pin
        except BaseException:
            pin.release()
            raise
        pin.release()
        if written != len(data):
            raise WorkerError(Reason.REPOSITORY_FULL, "pinning layers: No space left on device")
        return None

    def release(self) -> None:
        """Remove the pin. If that fails, maintenance removes it, because nobody holds its lock."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def __enter__(self) -> Pin:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@contextmanager
def pinned(root: Path, paths: ChainPaths) -> Iterator[Pins]:
    """Provide what is pinned in a chain; nothing can be pinned until the block ends. Pins of dead readers are removed.

    The chain must have been read before. What can't be read keeps every layer. Raises OSError.
    """
    if not is_folder(root / paths.pins):
        yield NO_PINS  # whoever pins from now on finds that the restore points to free were removed
        return
    deadline = time.monotonic() + _MAINTENANCE_WAIT
    while True:
        with _locked(root, paths) as is_locked:
            if is_locked:
                yield _read_pins(root, paths)
                return
            if time.monotonic() >= deadline:
                log.warning("nothing is freed: another process holds the lock of the pins", folder=paths.pins)
                yield Pins(unknown=_UNKNOWN, readers=frozenset({_UNKNOWN}))
                return
        time.sleep(_RETRY_SECONDS)


@contextmanager
def _locked(root: Path, paths: ChainPaths) -> Iterator[bool]:
    """Hold the lock of the pins if no other process does; the value says whether it is held. Raises OSError."""
    ensure_folder(root / paths.pins, root)
    fd = open_regular(root / paths.pins / layout.LOCK, _OPEN)
    try:
        yield try_lock(fd)
    finally:
        os.close(fd)


def _read_pins(root: Path, paths: ChainPaths) -> Pins:
    layers, unknown, readers = dict[str, str](), "", set[str]()
    for name in list_names(root / paths.pins):
        if not layout.is_pin(name):
            continue
        path = root / paths.pins / name
        try:
            if _is_dead(path):
                log.info("removed the pin of a reader that ended", pod_uid=name)
                continue
            readers.add(name)
            layers.update(dict.fromkeys(_layers_in(read_regular(path, _LIMIT + 1)), name))
        except FileNotFoundError:
            continue  # its reader has ended meanwhile
        except (OSError, ValueError) as error:
            log.warning("a pin can't be read: every layer is kept", pod_uid=name, error=error)
            unknown = name
            readers.add(name)
    return Pins(layers, unknown, frozenset(readers))


def _is_dead(path: Path) -> bool:
    """Remove the pin, and return True, unless its reader holds the lock. Raises OSError."""
    fd = open_regular(path, os.O_RDWR)
    try:
        if not try_lock(fd):
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(fd)


def _layers_in(data: bytes) -> list[str]:
    """Return the paths in a pin. Raises ValueError."""
    if len(data) > _LIMIT:
        raise ValueError(f"larger than {_LIMIT} bytes")
    try:
        raw: Any = json.loads(data)
        return [str(layout.check_layer_path(path)) for path in raw]
    except (TypeError, AttributeError, RecursionError, LayoutError) as error:
        raise ValueError(f"not a list of layers: {error}") from error
