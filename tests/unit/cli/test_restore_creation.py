"""`sendense restore`: the object for each choice, and what can't be chosen together."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import sample
from tests.unit.cli.conftest import CommandLine

from sendense_operator.api.v1alpha1.restore import RestoreSpec
from sendense_operator.cli import waits

CLAIMS = {"persistentVolumeClaims": [{"disk": 0, "claimName": "c0"}, {"disk": 1, "claimName": "c1"}]}
NEW = {"persistentVolumeClaims": [{"disk": 0, "claimName": "c0", "create": {"storageClassName": "fast"}}]}
OF_BACKUP = {"backupRef": {"name": "b"}}
MACHINE = {
    "name": "web",
    "defaultStorageClassName": "fast",
    "networks": [{"network": "a=b", "pod": {}}, {"network": "LAN", "multus": "lan"}],
    "defaultNetwork": {"multus": "shop/pod"},
}
OF_VM = {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}, "at": "Latest"}
THEN = "2026-01-31T12:00:00Z"


@pytest.fixture
def shop(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setattr(waits, "POLL_S", 0.001)
    cli.api.put(sample.repository("store"))
    cli.api.put(sample.backup("b", {"phase": "Completed"}))
    return cli


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        (("b", "--to", "0=c0", "--to", "1=c1"), {"source": {"backupRef": {"name": "b"}}, "target": CLAIMS}),
        (
            ("b", "--to", "0=c0", "--create", "--storage-class", "fast", "--disk", "0"),
            {"source": {"backupRef": {"name": "b"}, "disks": [0]}, "target": NEW},
        ),
        (
            ("b", "--file", "exports/a/b", "--format", "ova", "--create"),
            {
                "source": {"backupRef": {"name": "b"}},
                "target": {"file": {"claimName": "exports", "create": {}, "folder": "a/b", "format": "OVA"}},
            },
        ),
        (
            ("b", "--file", "exports", "--format", "QCOW2"),
            {"source": {"backupRef": {"name": "b"}}, "target": {"file": {"claimName": "exports", "format": "QCOW2"}}},
        ),
        (("--vm", "db", "--nbd", "--ttl", "60"), {"source": OF_VM, "target": {"nbd": {"ttlSeconds": 60}}}),
        (("--vm", "db", "--nbd"), {"source": OF_VM, "target": {"nbd": {}}}),
        (("b", "--virtual-machine", "web"), {"source": OF_BACKUP, "target": {"virtualMachine": {"name": "web"}}}),
        (
            (
                "b", "--virtual-machine", "web", "--storage-class", "fast", "--network", "a=b=pod",
                "--network", "LAN=lan", "--default-network", "shop/pod",
            ),
            {"source": OF_BACKUP, "target": {"virtualMachine": MACHINE}},
        ),
        (
            ("--vm", "db", "-r", "other", "--at", THEN, "--verify-only", "--allow-damaged"),
            {
                "source": {**OF_VM, "repositoryRef": {"name": "other"}, "at": THEN},
                "verifyOnly": True, "allowDamaged": True,
            },
        ),
    ],
)  # fmt: skip
def test_the_object(shop: CommandLine, words: tuple[str, ...], spec: dict[str, Any]) -> None:
    done = shop.run("restore", *words, "--name", "back")
    assert (done.code, done.err, done.lines) == (0, "", ["Restore back created"])
    (made,) = shop.api.written("POST")
    assert made["spec"] == spec
    RestoreSpec.model_validate(spec)


def test_its_name_is_the_vms(shop: CommandLine) -> None:
    shop.run("restore", "b", "--verify-only")
    assert shop.api.written("POST")[0]["metadata"]["name"].startswith("restore-db-")


@pytest.mark.parametrize(
    "words",
    [
        ("b",),
        ("--nbd",),
        ("b", "--vm", "db", "--nbd"),
        ("b", "--at", THEN, "--nbd"),
        ("b", "--nbd", "--verify-only"),
        ("b", "--to", "zero=c"),
        ("b", "--to", "0=c", "--virtual-machine", "web"),
        ("b", "--to", "0=c", "--network", "LAN=pod"),
        ("b", "--nbd", "--default-network", "pod"),
        ("b", "--virtual-machine", "web", "--network", "LAN"),
        ("b", "--virtual-machine", "web", "--network", "=pod"),
        ("b", "--virtual-machine", "web", "--network", "LAN="),
        ("b", "--to", "0=C;x"),
        ("b", "--to", "0=c", "--file", "c", "--format", "raw"),
        ("b", "--file", "exports"),
        ("b", "--file", "exports", "--format", "vhd"),
        ("b", "--file", "exports/../x", "--format", "raw"),
        ("b", "--file", "exports/", "--format", "raw"),
        ("b", "--file", "other/exports/..", "--format", "raw"),
        ("b", "--file", "/exports", "--format", "raw"),
        ("b", "--nbd", "--format", "raw"),
    ],
)
def test_what_does_not_go_together(shop: CommandLine, words: tuple[str, ...]) -> None:
    assert shop.run("restore", *words).code == 2
    assert shop.api.written("POST") == []


def test_several_repositories(shop: CommandLine) -> None:
    shop.api.put(sample.repository("other"))
    done = shop.run("restore", "--vm", "db", "--nbd")
    assert (done.code, done.err.splitlines()[1]) == (2, "one of: other, store")


def test_an_export_is_waited_for_until_it_serves(shop: CommandLine) -> None:
    def serve() -> None:
        disks = [{"index": 0, "uri": "nbd://back.shop/0"}]
        shop.api.objects["restores", "back"]["status"] = sample.ready_status("Serving", phase="Running", disks=disks)

    shop.api.after = [lambda: None, serve]
    done = shop.run("restore", "b", "--nbd", "--name", "back", "--wait")
    assert (done.code, done.lines[-1]) == (0, "nbd://back.shop/0")


def test_an_export_with_tls(shop: CommandLine) -> None:
    def serve() -> None:
        disks = [{"index": 0, "uri": "nbds://qemu@back.shop/0"}]
        status = sample.ready_status("Serving", phase="Running", disks=disks, tlsSecret="back-tls")
        shop.api.objects["restores", "back"]["status"] = status

    shop.api.after = [lambda: None, serve]
    done = shop.run("restore", "b", "--nbd", "--tls", "--ttl", "60", "--name", "back", "--wait")
    assert shop.api.objects["restores", "back"]["spec"]["target"] == {"nbd": {"ttlSeconds": 60, "tls": "PSK"}}
    assert done.lines[-2:] == ["nbds://qemu@back.shop/0", "the key for clients is in Secret back-tls"]
    done = shop.run("restore", "b", "--verify-only", "--tls")
    assert (done.code, "--tls is for disks that are served" in done.err) == (2, True)


def test_a_restore_that_fails(shop: CommandLine) -> None:
    def fail() -> None:
        failed = sample.ready_status("TargetNotEmpty", status="False", message="c0 has files", phase="Failed")
        shop.api.objects["restores", "back"]["status"] = failed

    shop.api.after = [lambda: None, fail]
    done = shop.run("restore", "b", "--to", "0=c0", "--name", "back", "--wait")
    assert (done.code, done.lines[-1]) == (1, "back: Failed: TargetNotEmpty: c0 has files")
