"""Which API server and namespace a command speaks to, and what is said when the kubeconfig can't be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import sample
from tests.unit.cli.conftest import CommandLine

from sendense_operator.cluster.api_connection import connect_user
from sendense_operator.cluster.errors import KubeconfigError


def path_of_list(cli: CommandLine, *words: str) -> str:
    cli.run("list", *words)
    return cli.api.requests[-1][1].partition("?")[0]


def test_the_namespace(cli: CommandLine) -> None:
    base = "/apis/backup.sendense.io/v1alpha1"
    assert path_of_list(cli) == f"{base}/namespaces/shop/backups"
    assert path_of_list(cli, "-n", "other") == f"{base}/namespaces/other/backups"
    assert path_of_list(cli, "-A") == f"{base}/backups"


def test_the_context(cli: CommandLine) -> None:
    config = json.loads(cli.kubeconfig.read_text(encoding="utf-8"))
    config["contexts"].append({"name": "there", "context": {"cluster": "c", "user": "u"}})
    cli.kubeconfig.write_text(json.dumps(config), encoding="utf-8")
    assert "/namespaces/default/" in path_of_list(cli, "--context", "there")


@pytest.mark.parametrize("words", [("--context", "nowhere"), ("--kubeconfig", "/nowhere/kubeconfig")])
def test_what_there_is_not(cli: CommandLine, words: tuple[str, ...]) -> None:
    done = cli.run("list", *words)
    assert done.code == 1
    assert done.err.startswith("error: the kubeconfig can't be used: ")
    assert done.err.splitlines()[-1] == "check --kubeconfig, --context and KUBECONFIG"
    assert cli.api.requests == []


def test_a_file_that_is_none(cli: CommandLine) -> None:
    cli.kubeconfig.write_text("{: [", encoding="utf-8")
    done = cli.run("list")
    assert done.code == 1
    assert done.err.startswith("error: the kubeconfig can't be used: ")


async def test_neither_a_kubeconfig_nor_a_pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(KubeconfigError):
        await connect_user()


def test_an_api_server_that_is_away(cli: CommandLine) -> None:
    config = json.loads(cli.kubeconfig.read_text(encoding="utf-8"))
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
    cli.kubeconfig.write_text(json.dumps(config), encoding="utf-8")
    done = cli.run("list")
    assert done.code == 1
    assert done.err.splitlines()[-1] == "check that the API server is reachable: `kubectl version`"


def test_an_api_server_that_talks_nonsense(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.api, "answer", lambda *_: (200, "<html>\x1b[2J"))
    done = cli.run("list")
    assert done.code == 1
    assert "\x1b" not in done.err


def test_an_error_of_ours_is_two_lines(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.api.put(sample.backup("b"))
    monkeypatch.setattr("sendense_operator.cli.actions.backup_list._row", lambda _: 1 / 0)
    done = cli.run("list")
    assert done.code == 1
    assert done.err.splitlines() == [
        "error: this program has an error: ZeroDivisionError: division by zero",
        "run it again with SENDENSE_DEBUG=1 and report what it prints",
    ]
