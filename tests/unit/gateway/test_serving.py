import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.tls import shake_hands
from tests.support.waiting import comes_true
from tests.unit.gateway.certificates import HOST, Authority, put

from sendense_operator.gateway.serving import reload_certificate, stamp_of


def certificate_of(context: ssl.SSLContext, trust: ssl.SSLContext) -> bytes:
    """Return the certificate that a server with that context shows. Raises ssl.SSLError."""
    return shake_hands(context, trust, HOST)


@asynccontextmanager
async def reloading(folder: Path) -> AsyncIterator[ssl.SSLContext]:
    """A context with the folder's pair, which is checked all the time."""
    known = stamp_of(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    task = asyncio.create_task(reload_certificate(context, folder, known, 0.001))
    try:
        yield context
    finally:
        task.cancel()


async def test_a_pair_that_does_not_fit_leaves_the_one_in_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    authority = Authority()
    first, second = authority.issue(), authority.issue()
    put(tmp_path, *first)
    async with reloading(tmp_path) as context:
        shown = certificate_of(context, authority.trust())
        put(tmp_path, second[0], first[1])
        await comes_true(lambda: "certificate not reloaded" in caplog.text)
        assert certificate_of(context, authority.trust()) == shown
        put(tmp_path, b"none", second[1])
        (tmp_path / "tls.key").unlink()
        assert certificate_of(context, authority.trust()) == shown
        put(tmp_path, *second)
        await comes_true(lambda: "certificate reloaded" in caplog.text)
        assert certificate_of(context, authority.trust()) == ssl.PEM_cert_to_DER_cert(second[0].decode())
