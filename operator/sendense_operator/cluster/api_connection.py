"""The connection to the API server, by service account or kubeconfig."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kubernetes.aio import config as kube_config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from sendense_operator.cluster.errors import KubeconfigError

_POD_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DEFAULT_NAMESPACE: Final = "default"


async def connect_api() -> ApiClient:
    """Connect by the pod's service account, or else by the kubeconfig that `kubectl` would use."""
    configuration = Configuration()
    loader: Any = kube_config
    try:
        # Reads the projected token again and again, since it is rotated.
        loader.load_incluster_config(client_configuration=configuration)
    except kube_config.ConfigException:
        await loader.load_kube_config(client_configuration=configuration)
    return _client(configuration)


async def connect_user(kubeconfig: str = "", context: str = "") -> tuple[ApiClient, str]:
    """Connect as `kubectl` would; the client and the namespace of the context.

    kubeconfig, context: a file and the name of a context in it; empty: those that `kubectl` takes. Without a
    kubeconfig, a pod's service account is used. Raises KubeconfigError.
    """
    configuration = Configuration()
    loader: Any = kube_config
    try:
        found = await loader.load_kube_config(
            config_file=kubeconfig or None, context=context or None, client_configuration=configuration,
            persist_config=False,
        )  # fmt: skip
        namespace = str(found.current_context["context"].get("namespace") or _DEFAULT_NAMESPACE)
    except Exception as error:  # the library raises whatever its parts do: OSError, KeyError, errors of YAML
        if kubeconfig or context:
            raise KubeconfigError(f"{type(error).__name__}: {error}") from error
        namespace = _load_service_account(loader, configuration, error)
    return _client(configuration), namespace


def _load_service_account(loader: Any, configuration: Configuration, before: Exception) -> str:
    try:
        loader.load_incluster_config(client_configuration=configuration)
        return _POD_NAMESPACE.read_text(encoding="utf-8").strip() or _DEFAULT_NAMESPACE
    except (kube_config.ConfigException, OSError) as error:
        raise KubeconfigError(f"{type(before).__name__}: {before}") from error


def _client(configuration: Any) -> ApiClient:
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
