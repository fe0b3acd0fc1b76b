"""Keeps vCenter's credentials from the processes that serve untrusted clients: qemu-nbd runs as the worker's own user.

An init container copies them from their Secret into memory that it shares with the worker, which mounts no Secret. The
worker reads and removes them before it starts anything. From then on they are in its memory only, which the kernel
opens to no other process of that user: a process that is not dumpable can't be traced, and its /proc entries that
tell of its memory belong to root.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from sendense_operator.vma.credentials import (
    PASSWORD_KEY,
    USERNAME_KEY,
    Credentials,
    CredentialsError,
    read_credentials,
)

_PR_SET_DUMPABLE: Final = 4


def take_credentials(directory: Path) -> Credentials:
    """Read the credentials, once: afterwards no file holds them. Raises CredentialsError."""
    hide_memory()
    credentials = read_credentials(directory)
    for key in (USERNAME_KEY, PASSWORD_KEY):
        try:
            (directory / key).unlink()
        except OSError as error:
            raise CredentialsError(f"credentials: {key} can't be removed once read: {error.strerror}") from None
    return credentials


def hide_memory() -> None:
    """No process of the same user may look into this one. Raises CredentialsError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        text = os.strerror(ctypes.get_errno())
        raise CredentialsError(f"credentials: the worker's memory can't be hidden: {text}")
