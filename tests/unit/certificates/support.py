"""Secrets as the controller fills them, and a client that trusts what is in them."""

from __future__ import annotations

import base64
import ssl
from datetime import datetime
from pathlib import Path

from tests.support.tls import shake_hands

from sendense_operator.certificates.contents import AUTHORITY, CERTIFICATE, KEY, Data
from sendense_operator.certificates.renewal import decide, make
from sendense_operator.certificates.subject_names import Server

SERVER = Server("api", "ops", ("backup.example", "*.apps.example", "192.0.2.7"))


def made(now: datetime, server: Server = SERVER, data: Data | None = None) -> dict[str, str]:
    """Return the Secret's `data` after the controller has looked at it."""
    before = data or {}
    return {**before, **make(decide(before, server, now), server, now)}


def pem(data: Data, name: str) -> bytes:
    """Return a part of the Secret as a file holds it."""
    return base64.b64decode(data[name])


def handshake(data: Data, host: str, folder: Path, authority: Data | None = None) -> None:
    """Shake hands in memory: a server with the Secret's pair, a client that trusts `authority`. Raises ssl.SSLError."""
    for name in (CERTIFICATE, KEY):
        (folder / name).write_bytes(pem(data, name))
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
    trust = ssl.create_default_context(cadata=pem(authority or data, AUTHORITY).decode())
    # what Python 3.13 requires of certificates by default
    trust.verify_flags |= ssl.VERIFY_X509_STRICT
    shake_hands(server_context, trust, host)
