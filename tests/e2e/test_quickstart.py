"""The very files of examples/quickstart, applied as the README says but for their namespace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import namespaces
from tests.support.documentation import documented, placed
from tests.support.kube import CHECKOUT, Kube
from tests.support.programs import kubectl
from tests.support.setup import callback_url, one_at_a_time
from tests.support.vma import ThroughCluster
from tests.support.waiting import until, wait_for

from sendense_operator.api.v1alpha1 import names

FOLDER = CHECKOUT / "examples" / "quickstart"
POLICY = CHECKOUT / "examples" / "policies" / "nightly.yaml"
MAIN = {
    "name": "pgtest1",
    "path": "/DC1/vm/pgtest1",
    "disks": [{"kind": "ext4", "size": 32 << 20, "files": 10}, {"kind": "pattern", "size": 16 << 20}],
}


@pytest.fixture
def place(kube: Kube, operator: str, reference_vma: None) -> Iterator[str]:
    """A namespace that is not there yet, for the examples, whoever else has applied them.

    The service's own appliance, as the examples name it, has the examples' VM, and calls back to whom the test says.
    """
    with one_at_a_time("tests-quickstart"):
        name = namespaces.name_for("quickstart")
        control = ThroughCluster(kube)
        before = control.request("GET", "_control/settings").json()["control_plane"]
        known = [vm["path"] for vm in control.request("GET", "_control/vms").json()]
        if MAIN["path"] not in known:
            control.request("POST", "_control/vms", json=MAIN)
        try:
            yield name
        finally:
            kube.delete("Namespace", name)
            namespaces.wait_gone(kube, "Namespace", name, timeout=90)
            _call_back_to(control, before)


def _call_back_to(control: ThroughCluster, url: str) -> None:
    control.request("PATCH", "_control/settings", json={"control_plane": url})


def moved(file: Path, namespace: str) -> list[dict[str, Any]]:
    """Return the file's objects, in that namespace instead of their own."""
    objects = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    for obj in objects:
        meta = obj["metadata"]
        if obj["kind"] == "Namespace":
            meta |= {"name": namespace, "labels": {**meta.get("labels", {}), namespaces.LABEL: "true"}}
        elif obj["kind"] not in ("PersistentVolume", "StorageClass"):
            meta["namespace"] = namespace
    return objects


@pytest.mark.disruptive
def test_quickstart(kube: Kube, place: str) -> None:
    """In the order of the files' names, as `kubectl apply -f FOLDER` does it."""
    objects = [obj for file in sorted(FOLDER.glob("*.yaml")) for obj in moved(file, place)]
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
    # What the documentation tells to do once on the appliance.
    _call_back_to(ThroughCluster(kube), callback_url(kube, place, "vma-dc1"))
    _type("kubectl wait -n backups backup/pgtest1-full", place)
    (backup,) = kube.select("Backup", place)
    assert backup["status"]["phase"] == "Completed"
    assert backup["status"]["disks"]
    assert "committed" in _type("kubectl logs -n backups -l backup.sendense.io/backup=pgtest1-full", place)
    back_up_by_policy(kube, place)


def _type(start: str, place: str) -> str:
    """Return what the documentation's command prints that starts like this, in the test's namespace."""
    return kubectl(*placed(documented(start), place)[1:], timeout=330)


def back_up_by_policy(kube: Kube, place: str) -> None:
    """As the next step of the page says; on request, since night is far away."""
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(moved(POLICY, place)))
    _type("kubectl label protectedvm pgtest1", place)
    _type("kubectl annotate backuppolicy nightly", place)
    created = wait_for("its Backup", lambda: _of_policy(kube, place), timeout=60)
    kubectl("wait", f"backup/{created}", "-n", place, "--for=condition=Ready", "--timeout=300s", timeout=330)
    (row,) = kube.table("BackupPolicy", place)
    assert (row["VMs"], row["Ready"]) == (1, "True")


def _of_policy(kube: Kube, place: str) -> str:
    found = kube.select("Backup", place, labels=f"{names.LABEL_POLICY}=nightly")
    until(found, "no Backup of the policy")
    return str(found[0]["metadata"]["name"])


OTHERS = sorted(path for path in (CHECKOUT / "examples").rglob("*.yaml") if path.parent != FOLDER)


@pytest.mark.parametrize("file", OTHERS, ids=lambda path: path.name)
def test_every_other_example_is_accepted(kube: Kube, namespace: str, file: Path) -> None:
    """By the API server, field by field; nothing is made."""
    for obj in moved(file, namespace):
        kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(obj))
