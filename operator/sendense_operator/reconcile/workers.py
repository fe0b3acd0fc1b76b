"""Asking a running worker how far it is."""

from __future__ import annotations

import logging
from typing import Final, Protocol

import httpx

from sendense_operator.api.v1alpha1 import names
from sendense_operator.task import Progress

TIMEOUT_S: Final = 2.0
_LIMIT: Final = 64 * 1024
_log = logging.getLogger(__name__)


class WorkerReader(Protocol):
    """Reads workers' status."""

    async def progress(self, address: str) -> Progress | None:
        """What the worker at that IP address says; None when it does not answer, or not sensibly."""
        ...


class HttpWorkerReader:
    """`WorkerReader` by HTTP."""

    def __init__(self) -> None:
        # A proxy of the environment is not meant for pods.
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def progress(self, address: str) -> Progress | None:
        """See `WorkerReader`."""
        host = f"[{address}]" if ":" in address else address
        try:
            response = await self._client.get(f"http://{host}:{names.STATUS_PORT}/v1/status")
            if response.status_code != httpx.codes.OK or len(response.content) > _LIMIT:
                return None
            return Progress.model_validate_json(response.content)
        except (httpx.HTTPError, ValueError) as error:
            _log.debug("worker at %s: %s", address, type(error).__name__)
            return None
