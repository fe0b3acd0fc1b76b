"""TLS of an NBD export, with a key that both sides have (PSK)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_ID: Final = "tls0"
_PRIORITY: Final = "NORMAL:-CHACHA20-POLY1305"
"""Ciphers for GnuTLS: without the one that it prefers, AES is used, which is twice as fast."""


def server_flags(folder: Path) -> list[str]:
    """Return the arguments that make `qemu-nbd` refuse everything but TLS with the key in `folder`.

    The key stays in its file, which GnuTLS reads at each handshake.
    """
    creds = f"tls-creds-psk,id={_ID},endpoint=server,dir={folder},priority={_PRIORITY}"
    return ["--object", creds, f"--tls-creds={_ID}"]
