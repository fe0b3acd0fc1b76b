"""Asking a running worker how far it is."""

from __future__ import annotations

import asyncio
from typing import Final

import httpx

from sendense_operator import bounded_http
from sendense_operator.api.v1alpha1 import names
from sendense_operator.logs import get_logger
from sendense_operator.task import CANCEL_PATH, Progress

TIMEOUT_S: Final = 2.0
"""For one whole request, however slowly the bytes of its answer come."""
_LIMIT: Final = 64 * 1024
_log = get_logger(__name__)


class HttpWorkerReader:
    """`WorkerReader` by HTTP. What answers at a pod's address may be anything: it gets few bytes and little time."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT_S,
            # A proxy of the environment is not meant for pods.
            trust_env=False,
            follow_redirects=False,
            headers=bounded_http.HEADERS,
            transport=transport,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def cancel(self, address: str) -> bool:
        """See `WorkerReader`."""
        host = f"[{address}]" if ":" in address else address
        try:
            async with self._client.stream("POST", f"http://{host}:{names.STATUS_PORT}{CANCEL_PATH}") as response:
                return response.status_code == httpx.codes.ACCEPTED
        except httpx.HTTPError as error:
            _log.debug("worker does not answer", address=address, error=type(error).__name__)
            return False

    async def progress(self, address: str) -> Progress | None:
        """See `WorkerReader`."""
        host = f"[{address}]" if ":" in address else address
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._client.stream("GET", f"http://{host}:{names.STATUS_PORT}/v1/status") as response,
            ):
                body, whole = await bounded_http.read_at_most(response, _LIMIT)
            if response.status_code != httpx.codes.OK or not whole:
                return None
            return Progress.model_validate_json(body)
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            _log.debug("worker does not answer", address=address, error=type(error).__name__)
            return None
