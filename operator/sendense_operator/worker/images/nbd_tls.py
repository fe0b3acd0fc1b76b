"""TLS of an NBD export, with a key that both sides have (PSK)."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, Final

from sendense_operator.restore_task import TLS_KEYS

_ID: Final = "tls0"
_PRIORITY: Final = "NORMAL:-CHACHA20-POLY1305"
"""Ciphers for GnuTLS: without the one that it prefers, AES is used, which is twice as fast."""


_CONNECT_SECONDS: Final = 10.0
_SILENT_SECONDS: Final = 30
"""After which a server whose node is gone counts as lost."""


def server_flags(folder: Path) -> list[str]:
    """Return the arguments that make `qemu-nbd` refuse everything but TLS with the key in `folder`.

    The key stays in its file, which GnuTLS reads at each handshake.
    """
    creds = f"tls-creds-psk,id={_ID},endpoint=server,dir={folder},priority={_PRIORITY}"
    return ["--object", creds, f"--tls-creds={_ID}"]


def connect(folder: Path, user: str, host: str, port: int, export: str) -> Any:
    """Return a connection of libnbd, with the key of `user` in `folder`. Raises nbd.Error and OSError.

    It fails if the server's node does not answer for half a minute: libnbd itself would wait for ever.
    """
    import nbd  # noqa: PLC0415 - Debian's package, not on PyPI: only where qemu is too

    handle = nbd.NBD()
    handle.set_tls(nbd.TLS_REQUIRE)
    handle.set_tls_username(user)
    handle.set_tls_psk_file(str(folder / TLS_KEYS))
    handle.set_export_name(export)
    link = socket.create_connection((host, port), _CONNECT_SECONDS)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENT_SECONDS // 3)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _SILENT_SECONDS // 3)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_SECONDS * 1000)
    handle.connect_socket(link.detach())
    return handle
