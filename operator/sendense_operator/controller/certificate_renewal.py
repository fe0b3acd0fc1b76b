"""Keeps the certificate that the REST API serves by: in a Secret that the chart makes and this program fills."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from sendense_operator.certificates.renewal import Need, decide, make
from sendense_operator.certificates.subject_names import Server
from sendense_operator.cluster.api_client import Cluster
from sendense_operator.cluster.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from sendense_operator.cluster.kinds import SECRET
from sendense_operator.controller.work_queue import backoff
from sendense_operator.logs import get_logger
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.settings import Settings

CHECK_S: Final = 60.0
"""Between two checks. Time would allow an hour, but pods can't start while the Secret is empty."""
TIMEOUT_S: Final = 60.0
"""Seconds that one check may take."""
REMIND_AFTER: Final = timedelta(hours=1)
"""The same trouble is reported again after so long."""
_log = get_logger(__name__)


class CertificateRenewal:
    """Keeps one Secret filled, which must be there: the right to make one can't be bound to its name.

    Two that do it at once are harmless: the one that writes later is refused, and checks again.
    """

    def __init__(self, cluster: Cluster, namespace: str, secret: str, server: Server) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._secret = secret
        self._server = server
        self._logged: tuple[str, datetime] | None = None

    @classmethod
    def of(cls, settings: Settings, cluster: Cluster) -> CertificateRenewal | None:
        """As the settings say; None where no certificate is to be made."""
        if not settings.certificate_secret:
            return None
        namespace = settings.operator_namespace
        server = Server(settings.certificate_service, namespace, settings.certificate_names)
        return cls(cluster, namespace, settings.certificate_secret, server)

    async def run(
        self,
        leading: asyncio.Event,
        now: Callable[[], datetime],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Check at intervals while this process leads, until cancelled. Nothing else ends it."""
        failures = 0
        while True:
            await leading.wait()
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self.check(now())
            except Exception as error:
                failures += 1
                self._log_once(error, now())
                await pause(backoff(failures, random.random()))  # noqa: S311 - spreads retries
            else:
                failures = 0
                self._logged = None
                await pause(CHECK_S)

    async def check(self, now: datetime) -> None:
        """Renew what has to be renewed. Raises ClusterError; ConflictError when somebody else was faster."""
        secret = await self._cluster.get(SECRET, self._namespace, self._secret)
        data: dict[str, str] = secret.get("data") or {}
        plan = decide(data, self._server, now)
        if plan.need is Need.NOTHING:
            return
        patch = {
            "metadata": {"resourceVersion": secret["metadata"]["resourceVersion"]},
            "data": make(plan, self._server, now),
        }
        await self._cluster.merge_patch(SECRET, self._namespace, self._secret, patch)
        place = ObjectKey(self._namespace, self._secret)
        _log.info("certificate renewed", made=plan.need.value, secret=place, reason=plan.why)

    def _log_once(self, error: Exception, now: datetime) -> None:
        """Log what happened and what to do, unless that was just said."""
        text = f"{_what(error)}: {_advice(error)}"
        if self._logged is not None and self._logged[0] == text and now - self._logged[1] < REMIND_AFTER:
            return
        self._logged = (text, now)
        # one conflict is nothing: the next check sees what the other one wrote
        level = logging.INFO if isinstance(error, ConflictError) else logging.WARNING
        place = ObjectKey(self._namespace, self._secret)
        _log.log(level, "REST's certificate is not renewed: trying again", secret=place, error=text)


def _what(error: Exception) -> str:
    """Without the words of an API server that quotes what it finds invalid: the patch holds keys."""
    name = type(error).__name__
    return name if isinstance(error, InvalidError) or not str(error) else f"{name}: {error}"


def _advice(error: Exception) -> str:
    match error:
        case NotFoundError():
            return "install the chart again (helm upgrade), which makes the Secret, or set rest.tls.secretName"
        case ConflictError():
            return "it was changed meanwhile"
        case ForbiddenError():
            return (
                "give the controller `get` and `patch` on it, as the chart's Role does, or ask who refuses the change"
            )
        case InvalidError():
            return (
                "delete it and install the chart again (helm upgrade), in case it was made immutable or of another type"
            )
        case UnavailableError() | TimeoutError():
            return "if this persists, check whether the API server answers"
        case _:
            return "unexpected: delete the Secret's data in case it is the cause, and report the error"
