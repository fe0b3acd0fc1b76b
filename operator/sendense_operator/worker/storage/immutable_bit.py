"""The file system's immutable bit, as `chattr +i` sets it: nobody can write, rename or remove such a file.

Where a pod may set it, it protects the files of immutable restore points against everything but root on the storage.
ext4, XFS and btrfs have it, NFS and CIFS don't. Setting and clearing it needs the capability CAP_LINUX_IMMUTABLE.

The operator sets and clears it only on files of restore points whose manifest has a time. A bit on any other file is
somebody else's, and stays.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from pathlib import Path, PurePosixPath
from typing import Final

from sendense_operator.answer import ImmutableBit
from sendense_operator.chain.immutability import ImmutabilityRule, needed_files
from sendense_operator.chain.layout import PARTIAL
from sendense_operator.chain.manifest import Manifest
from sendense_operator.logs import get_logger
from sendense_operator.worker.errors import NotRegularError
from sendense_operator.worker.storage.chain_folder import ChainFolder
from sendense_operator.worker.storage.durable_io import open_new, open_regular
from sendense_operator.worker.storage.repository_listing import WRITE_TEST

log = get_logger(__name__)

_GET_FLAGS: Final = 0x80086601
_SET_FLAGS: Final = 0x40086602
"""FS_IOC_GETFLAGS and FS_IOC_SETFLAGS of 64-bit Linux."""
_IMMUTABLE: Final = 0x10
"""FS_IMMUTABLE_FL."""
_WITHOUT: Final = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
"""Errors of file systems that have no such bit."""
_REFUSED: Final = frozenset({errno.EPERM, errno.EACCES})


def find_support(root: Path, tag: str) -> ImmutableBit:
    """Return whether this pod can set the bit in the repository. `tag`: makes the test file's name unique.

    The test file has no name any more when its bit is set, so that none stays behind that nobody can remove. Raises
    other OSErrors.
    """
    path = root / f"{WRITE_TEST}{tag}{PARTIAL}"
    fd = open_new(path)
    try:
        path.unlink()
        _write_flags(fd, _read_flags(fd) | _IMMUTABLE)
    except OSError as error:
        if error.errno in _WITHOUT:
            return ImmutableBit.NOT_SUPPORTED
        if error.errno in _REFUSED:
            return ImmutableBit.NOT_PERMITTED
        raise
    finally:
        os.close(fd)
    return ImmutableBit.USED


def protect(path: Path) -> None:
    """Set the bit of a file. Raises OSError, also where the file system has no such bit."""
    _change(path, immutable=True)


def release(path: Path) -> None:
    """Clear the bit of a file that may have it, and may not exist. Raises OSError if that is not permitted."""
    try:
        _change(path, immutable=False)
    except (FileNotFoundError, NotRegularError):
        return
    except OSError as error:
        if error.errno not in _WITHOUT:
            raise


def protect_point(root: Path, place: PurePosixPath, manifest: Manifest) -> None:
    """Set the bit of an immutable restore point's files after its commit; what fails is left to maintenance.

    `place`: path of the manifest below the repository's root.
    """
    try:
        for name in (*manifest.files(), str(place)):
            protect(root / name)
    except OSError as error:
        log.info("the immutable bit is not set: the operator alone keeps the restore point", file=place, error=error)


def release_point(root: Path, place: PurePosixPath, manifest: Manifest) -> None:
    """Clear the bit of a restore point's files, so that they can be replaced or removed. Raises OSError.

    Only for a restore point that is not immutable any more, and that no immutable one depends on.
    """
    if manifest.retain_until is not None:
        for name in (*manifest.files(), str(place)):
            release(root / name)


def refresh_bits(root: Path, chain: ChainFolder, rule: ImmutabilityRule) -> None:
    """Set the bit of all files that immutable restore points need, and clear that of the others. Raises OSError.

    Only where `find_support` says that the bit can be set, and under the chain's lock. A file that is missing is left
    to those who look for damage.
    """
    found = (*chain.points, *chain.tombstones)
    needed = needed_files((point.manifest for point in found), rule)
    for point in found:
        if point.manifest.retain_until is None:
            continue
        wanted = {name: name in needed for name in point.manifest.files()}
        wanted[str(point.place)] = rule.retains(point.manifest) and point in chain.points
        for name, immutable in wanted.items():
            with contextlib.suppress(FileNotFoundError):
                _change(root / name, immutable=immutable)


def _change(path: Path, *, immutable: bool) -> None:
    fd = open_regular(path)
    try:
        flags = _read_flags(fd)
        wanted = flags | _IMMUTABLE if immutable else flags & ~_IMMUTABLE
        if wanted != flags:
            _write_flags(fd, wanted)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(fd)


def _read_flags(fd: int) -> int:
    return int(struct.unpack("Q", fcntl.ioctl(fd, _GET_FLAGS, bytes(8)))[0]) & 0xFFFFFFFF


def _write_flags(fd: int, flags: int) -> None:
    fcntl.ioctl(fd, _SET_FLAGS, struct.pack("Q", flags))
