"""The very files of examples/quickstart, applied as the README says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.support import namespaces
from tests.support.kube import CHECKOUT, Kube
from tests.support.programs import kubectl
from tests.support.setup import gateway_url, one_at_a_time
from tests.support.vma import ThroughCluster

FOLDER = CHECKOUT / "examples" / "quickstart"
MAIN = {
    "name": "pgtest1",
    "path": "/DC1/vm/pgtest1",
    "disks": [{"kind": "ext4", "size": 32 << 20, "files": 10}, {"kind": "pattern", "size": 16 << 20}],
}


@pytest.fixture
def main_appliance(kube: Kube, operator: str, reference_vma: None) -> Iterator[None]:
    """The service's own appliance, as the examples name it, calls this cluster back and has the examples' VM."""
    with one_at_a_time("tests-quickstart"):
        if kube.find("Namespace", "backups"):
            pytest.fail("namespace backups is there (the demo's?): kubectl delete namespace backups")
        control = ThroughCluster(kube)
        url = gateway_url(kube, operator, "backups", "vma-dc1")
        control.request("PATCH", "_control/settings", json={"control_plane": url})
        known = [vm["path"] for vm in control.request("GET", "_control/vms").json()]
        if MAIN["path"] not in known:
            control.request("POST", "_control/vms", json=MAIN)
        yield
        kube.delete("Namespace", "backups")
        namespaces.wait_gone(kube, "Namespace", "backups", timeout=90)


@pytest.mark.disruptive
def test_quickstart(kube: Kube, main_appliance: None) -> None:
    kubectl("apply", "-f", str(FOLDER))
    kubectl("wait", "backup", "--all", "-n", "backups", "--for=condition=Ready", "--timeout=180s")
    (backup,) = kube.select("Backup", "backups")
    assert backup["status"]["phase"] == "Completed"
    assert backup["status"]["disks"]


OTHERS = sorted(path for path in (CHECKOUT / "examples").rglob("*.yaml") if path.parent != FOLDER)


@pytest.mark.parametrize("file", OTHERS, ids=lambda path: path.name)
def test_every_other_example_is_accepted(kube: Kube, namespace: str, file: Path) -> None:
    """By the API server, field by field; nothing is made."""
    for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        if document["kind"] not in ("PersistentVolume", "StorageClass"):
            document["metadata"]["namespace"] = namespace
        kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(document))
