"""TLS in memory."""

from __future__ import annotations

import ssl


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> bytes:
    """Return the certificate, in DER, that a server shows to a client that calls it `host`. Raises ssl.SSLError."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    calling = client.wrap_bio(back, there, server_hostname=host)
    called = server.wrap_bio(there, back, server_side=True)
    for side in (calling, called, calling):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    shown = calling.getpeercert(binary_form=True)
    assert shown, "the hands are shaken"
    return shown
