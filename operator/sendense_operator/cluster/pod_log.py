"""Reads a container's log: bounded in bytes and in time, errors translated."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import aiohttp
from kubernetes.aio.client.exceptions import ApiException

from sendense_operator.cluster.errors import UnavailableError, error_from_status
from sendense_operator.cluster.kinds import POD

LOG_LIMIT: Final = 16 << 20
"""Bytes. The kubelet begins a new file at 10 MiB unless it is configured otherwise, and only gives the newest."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=10, sock_read=15)


async def read_log(api: Any, namespace: str, pod: str, container: str) -> list[str]:
    """Read a container's log up to LOG_LIMIT bytes, whether or not the server honours the limit.

    `api`: the library's client, which is not typed. Raises ClusterError's subclasses only.
    """
    query = [("container", container), ("limitBytes", str(LOG_LIMIT))]
    try:
        request = await api.param_serialize(
            "GET",
            POD.path(namespace, pod, "log"),
            query_params=query,
            header_params={"Accept": "*/*"},
            auth_settings=["BearerToken"],
        )
        answer = await api.call_api(*request, _request_timeout=_TIMEOUT)
        response: aiohttp.ClientResponse = answer.response
        async with response:
            text = (await _read(response)).decode("utf-8", "replace")
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise UnavailableError(f"log of {pod}: {type(error).__name__}: {error}") from error
    except ApiException as error:
        raise error_from_status(error.status or 0, str(error.body or error.reason)) from error
    if response.status != HTTPStatus.OK:
        raise error_from_status(response.status, text)
    return text.split("\n")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) >= LOG_LIMIT:
            break
    return bytes(data[:LOG_LIMIT])
