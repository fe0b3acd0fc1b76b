"""`sendense doctor` and its bundle."""

from __future__ import annotations

import stat
import tarfile
from pathlib import Path

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.unit.cli.conftest import CommandLine

from sendense_operator.api.v1alpha1.names import ANNOTATION_TASK

TOKEN = "k7f3q9x2m4p8w1z6"
URL = f"https://gateway.example/callbacks/shop/vma-dc1/{TOKEN}"


def deployment(component: str, ready: int = 1, version: str = "0.1.0") -> Obj:
    labels = {
        "app.kubernetes.io/name": "sendense-backup", "app.kubernetes.io/component": component,
        "app.kubernetes.io/version": version,
    }  # fmt: skip
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"namespace": "sendense-system", "name": f"s-{component}", "labels": labels},
        "spec": {"replicas": 1}, "status": {"readyReplicas": ready},
    }  # fmt: skip


@pytest.fixture
def shop(cli: CommandLine) -> CommandLine:
    cli.api.put(deployment("controller"), "deployments")
    cli.api.put(sample.appliance("vma-dc1", sample.ready_status("Reachable", callbackURL=URL)))
    capacity = {"freeBytes": 10 << 30, "totalBytes": 20 << 30}
    cli.api.put(sample.repository("store", sample.ready_status(capacity=capacity), minFreeBytes=1 << 30))
    cli.api.put(sample.custom("BackupPolicy", "nightly", {}, sample.ready_status()))
    return cli


def test_all_is_well(shop: CommandLine) -> None:
    done = shop.run("doctor")
    assert (done.code, done.err) == (0, "")
    assert {line[:2] for line in done.lines} == {"ok"}
    assert "ok controller s-controller: 1 of 1 replicas are ready" in done.lines
    assert "ok VMwareAppliance vma-dc1: no callback is known to be lost" in done.lines
    assert "ok BackupRepository store: 10.0 GiB are free" in done.lines


def broken(cli: CommandLine) -> None:
    cli.api.put(deployment("controller", ready=0), "deployments")
    status = sample.ready_status("Unreachable", status="False", message="no answer", stuckClients=2)
    status["conditions"].append(
        sample.condition("CallbacksArrive", "CallbacksElsewhere", "set the URL", status="False")
    )
    cli.api.put(sample.appliance("vma-dc1", status))
    cli.api.put(sample.repository("store", sample.ready_status(capacity={"freeBytes": 5}), minFreeBytes=1 << 30))
    cli.api.forbidden = {("create", "backups"), ("get", "pods")}
    cli.api.unknown = {"restores"}


def test_what_is_wrong_and_what_to_do(shop: CommandLine) -> None:
    broken(shop)
    done = shop.run("doctor")
    assert done.code == 1
    pairs = dict(zip(done.lines, done.lines[1:], strict=False))
    assert pairs["! the kind Restore is not served"].startswith("    apply the chart's definitions")
    assert pairs["? you may not back up, restore and delete"] == "    it needs: create backups"
    assert pairs["? you may not read logs"] == "    it needs: get pods/log"
    assert pairs["! controller s-controller: 0 of 1 replicas are ready"].startswith("    kubectl describe deployment")
    assert pairs["! VMwareAppliance vma-dc1 is not ready"] == "    Unreachable: no answer"
    assert pairs["! VMwareAppliance vma-dc1: callbacks do not arrive"] == "    set the URL"
    assert pairs["! VMwareAppliance vma-dc1: 2 of its clients hang"] == "    restart the appliance's service"
    assert any(line.startswith("! BackupRepository store: 5 B are free") for line in pairs)


def test_for_programs(shop: CommandLine) -> None:
    broken(shop)
    found = shop.run("doctor", "-o", "json").json
    assert {"verdict": "Bad", "what": "the kind Restore is not served"}.items() <= found[0].items()


def test_no_operator_and_no_rights(cli: CommandLine) -> None:
    assert "! the operator is not installed in this cluster" in cli.run("doctor").lines
    cli.api.forbidden = {(verb, "*") for verb in ("list", "get", "create", "patch", "delete")}
    done = cli.run("doctor")
    assert done.code == 0
    assert "? you may not see the operator's programs" in done.lines
    assert "? you may not see backups" in done.lines


def worker(cli: CommandLine) -> None:
    pod = sample.pod("worker-1")
    pod["metadata"] |= {
        "labels": {"backup.sendense.io/component": "worker"},
        "annotations": {ANNOTATION_TASK: '{"secret": "task"}', "kept": "yes"},
        "managedFields": [{"manager": "x"}],
    }
    env = [{"name": "PASSWORD", "value": "hunter2"}]
    pod["spec"] |= {"containers": [{"name": "worker", "image": "i:1", "env": env}]}
    cli.api.put({"apiVersion": "v1", "kind": "Pod", **pod})
    cli.api.logs["worker-1"] = f'{{"event": "called {URL}/complete"}}\n'


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> str:
    file = archive.extractfile(entry)
    assert file is not None
    return file.read().decode()


def test_a_bundle_holds_no_secret(shop: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker(shop)
    # the selector of the component says nothing about its value
    monkeypatch.setattr(
        "sendense_operator.cli.actions.bundle_writing.LABEL_COMPONENT", "backup.sendense.io/component=worker"
    )
    path = tmp_path / "bundle.tar.gz"
    done = shop.run("doctor", "--bundle", str(path))
    assert (done.code, done.err) == (0, "")
    with tarfile.open(path) as archive:
        files = {one.name: _content(archive, one) for one in archive}
    everything = "".join(files.values())
    assert {"doctor.txt", "objects/vmwareappliances.yaml", "objects/pods.yaml", "logs/worker-1-worker.log"} <= set(
        files
    )
    assert "vma-dc1" in files["objects/vmwareappliances.yaml"]
    assert "kept: 'yes'" in files["objects/pods.yaml"]
    assert "/complete" in files["logs/worker-1-worker.log"]
    for secret in (TOKEN, "hunter2", '"task"', "managedFields"):
        assert secret not in everything
    assert not [path for _, path, _ in shop.api.requests if "/secrets" in path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_bundle_replaces_no_file(shop: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_text("mine", encoding="utf-8")
    done = shop.run("doctor", "--bundle", str(path))
    assert (done.code, done.err.splitlines()[0]) == (1, f"error: {path} can't be written: File exists")
    assert path.read_text(encoding="utf-8") == "mine"


def test_a_bundle_without_rights_has_what_there_is(shop: CommandLine, tmp_path: Path) -> None:
    shop.api.forbidden = {("list", "pods"), ("list", "backups")}
    path = tmp_path / "bundle.tar.gz"
    done = shop.run("doctor", "--bundle", str(path))
    assert done.code == 1
    assert "you may not list pods in namespace shop" in done.err
    with tarfile.open(path) as archive:
        assert "objects/vmwareappliances.yaml" in archive.getnames()
