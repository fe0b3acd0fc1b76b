"""Pairs of certificate and key, in a folder as a mounted Secret is one."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from sendense_operator.gateway.serving import CERTIFICATE, KEY

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Authority:
    """Issues pairs for loopback; two pairs of one authority have different keys."""

    ca: trustme.CA = field(default_factory=trustme.CA)

    def trust(self) -> ssl.SSLContext:
        """Return a client's context that knows this authority and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.ca.configure_trust(context)
        return context

    def issue(self) -> tuple[bytes, bytes]:
        """Return a new certificate and its key."""
        pair = self.ca.issue_cert(HOST)
        return pair.cert_chain_pems[0].bytes(), pair.private_key_pem.bytes()


def put(folder: Path, certificate: bytes, key: bytes) -> None:
    """Write the pair, fitting or not, each file at once."""
    folder.mkdir(exist_ok=True)
    for name, content in ((CERTIFICATE, certificate), (KEY, key)):
        (folder / f".{name}").write_bytes(content)
        (folder / f".{name}").replace(folder / name)
