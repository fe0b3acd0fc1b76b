"""The connection by a kubeconfig, and the environment's proxy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.unit.cluster.recorder import serving

from sendense_operator.cluster import kinds
from sendense_operator.cluster.api_client import KubernetesCluster
from sendense_operator.cluster.api_connection import environment_proxy


class TestConnection:
    """`connect_api`: by the kubeconfig, with the environment's proxy."""

    @asynccontextmanager
    async def cluster(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, server: str
    ) -> AsyncIterator[KubernetesCluster]:
        """Return a cluster by a kubeconfig for `server`, with a token."""
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "a",
            "clusters": [{"name": "a", "cluster": {"server": server}}],
            "users": [{"name": "a", "user": {"token": "t"}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        }  # fmt: skip
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config), encoding="utf-8")
        monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        async with await KubernetesCluster.connect() as cluster:
            yield cluster

    async def test_an_entry_in_netrc_does_not_replace_the_token(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("default login a password b\n", encoding="ascii")
        monkeypatch.setenv("NETRC", str(netrc))
        async with serving() as (url, server), self.cluster(tmp_path, monkeypatch, url) as cluster:
            await cluster.get(kinds.BACKUP, "shop", "b")
        assert [request["authorization"] for request in server.requests] == ["Bearer t"]

    async def test_goes_through_the_proxy_of_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with serving() as (url, server):
            monkeypatch.setenv("http_proxy", url)
            monkeypatch.setenv("no_proxy", "")
            async with self.cluster(tmp_path, monkeypatch, "http://api.invalid:6443") as cluster:
                await cluster.get(kinds.BACKUP, "shop", "b")
        assert [request["host"] for request in server.requests] == ["api.invalid:6443"]

    @pytest.mark.parametrize(
        ("url", "proxy"),
        [
            ("https://api.example:6443", "http://proxy.example:3128"),
            ("http://api.example:6443", None),
            ("https://10.96.0.1:443", None),
            ("", None),
        ],
    )
    def test_proxy_by_scheme_unless_the_host_is_excluded(
        self, monkeypatch: pytest.MonkeyPatch, url: str, proxy: str | None
    ) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HTTPS_PROXY", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
        monkeypatch.setenv("no_proxy", "10.96.0.1")
        assert environment_proxy(url) == proxy
