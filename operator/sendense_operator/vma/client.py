"""The VMA's HTTP API."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from sendense_operator.vma.credentials import Credentials
from sendense_operator.vma.models import (
    CBTStatus,
    Health,
    Inventory,
    StartAccepted,
    StartRequest,
    VMAProgress,
)


class VMAClient:
    """Calls one VMA; use it as an async context manager. Every call raises VMAError's subclasses only."""

    def __init__(
        self,
        url: str,
        ca_bundle: Path | None = None,
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`url`: base URL. `timeout`: seconds for one whole call, answer included."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    async def health(self) -> Health:
        """GET health."""
        raise NotImplementedError

    async def discover(
        self, credentials: Credentials, vcenter: str, datacenter: str, name_filter: str = ""
    ) -> Inventory:
        """List the VMs of a datacenter."""
        raise NotImplementedError

    async def cbt_status(self, credentials: Credentials, vcenter: str, vm_path: str) -> CBTStatus:
        """Tell whether CBT is on; a wrong password or an unknown VM is VMARefused in vCenter's own words."""
        raise NotImplementedError

    async def progress(self, job_id: str) -> VMAProgress | None:
        """Return the job's progress record, None if there is none (404)."""
        raise NotImplementedError

    async def start(self, request: StartRequest, credentials: Credentials) -> StartAccepted:
        """Start a job, at most once. Raises StartUnknown if it was sent and no clear answer came."""
        raise NotImplementedError
