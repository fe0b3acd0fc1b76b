"""The connection to the API server, by service account or kubeconfig."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kubernetes.aio import config as kube_config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration


async def connect_api() -> ApiClient:
    """Connect by the pod's service account, or else by the kubeconfig that `kubectl` would use."""
    configuration = Configuration()
    loader: Any = kube_config
    try:
        # Reads the projected token again and again, since it is rotated.
        loader.load_incluster_config(client_configuration=configuration)
    except kube_config.ConfigException:
        await loader.load_kube_config(client_configuration=configuration)
    configuration.proxy = configuration.proxy or environment_proxy(configuration.host)
    # With `trust_env` aiohttp reads the environment and ~/.netrc anew for each request, in a thread: a third of the
    # controller's processor time. An entry for this host in ~/.netrc would even make each request fail.
    configuration.client_session_kwargs = {"trust_env": False}
    return ApiClient(configuration)


def environment_proxy(url: str) -> str | None:
    """Return the proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for a URL; None: connect directly."""
    parts = urlsplit(url)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)
