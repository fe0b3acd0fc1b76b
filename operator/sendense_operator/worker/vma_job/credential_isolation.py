"""Isolation of vCenter's credentials from qemu-nbd, which serves untrusted clients and runs as the worker's user.

An init container copies the credentials from their Secret into a memory volume that it shares with the worker; the
worker itself mounts no Secret. The worker reads and removes the files before it starts any process. After that the
credentials exist only in its memory, which no other process of the user can read: a process that is not dumpable
cannot be traced, and the /proc entries that expose its memory belong to root.
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
    """Return the credentials and remove their files. Can be called once. Raises CredentialsError."""
    hide_memory()
    credentials = read_credentials(directory)
    for key in (USERNAME_KEY, PASSWORD_KEY):
        try:
            (directory / key).unlink()
        except OSError as error:
            raise CredentialsError(f"credentials: the file {key} can't be removed: {error.strerror}") from None
    return credentials


def hide_memory() -> None:
    """Protect this process's memory from other processes of the same user. Raises CredentialsError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        text = os.strerror(ctypes.get_errno())
        raise CredentialsError(f"credentials: the worker's memory can't be protected (prctl): {text}")
