"""What `kubectl get` shows and can filter by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import pytest
from tests.support import namespaces
from tests.support.kube import OUR_KINDS, ApiError, Kube

VMS = ("db", "web")
REPOSITORIES = ("fast", "slow")
PHASES = ("Completed", "Failed")
BASE_COLUMNS = {
    "Backup": ["Name", "VM", "Type", "Phase", "Progress", "Rate", "Stored", "Repository", "Age"],
    "BackupChain": ["Name", "VM", "Repository", "Points", "Latest", "Stored", "Ready", "Age"],
    "BackupRepository": ["Name", "Claim", "Ready", "Reason", "Free", "Active", "Age"],
    "ProtectedVM": ["Name", "Path", "Appliance", "Ready", "Reason", "Size", "Age"],
    "VMwareAppliance": ["Name", "URL", "Ready", "Reason", "Active", "Age"],
}


@pytest.fixture(scope="module")
def many(kube: Kube, settled: Callable[..., str]) -> Iterator[str]:
    """A namespace with a Backup for each VM, repository and phase, named and labelled by them."""
    with namespaces.temporary(kube, "listing") as name:
        for vm, repository, phase in product(VMS, REPOSITORIES, PHASES):
            backup = f"{vm}-{repository}-{phase.lower()}"
            settled(backup, name, labels={"vm": vm, "phase": phase}, vm=vm, repository=repository)
            kube.merge("Backup", backup, name, {"status": {"phase": phase}}, sub="status")
        yield name


@pytest.mark.parametrize(
    ("fields", "labels", "expected"),
    [
        ("spec.vmRef.name=db", None, 4),
        ("spec.repositoryRef.name=fast", None, 4),
        ("status.phase=Failed", None, 4),
        ("spec.type=Full", None, 8),
        ("status.phase!=Failed", None, 4),
        ("spec.vmRef.name=db,status.phase=Completed", None, 2),
        ("spec.vmRef.name=db,spec.repositoryRef.name=slow,spec.type=Full,status.phase=Completed", None, 1),
        ("spec.vmRef.name=nobody", None, 0),
        ("spec.repositoryRef.name=fast", "vm=web", 2),
        ("spec.repositoryRef.name=fast,status.phase=Failed", "vm in (web,db)", 2),
        (None, "vm=web,phase=Completed", 2),
        ("metadata.name=db-fast-completed", None, 1),
    ],
)
def test_backups_are_found_by_fields_and_labels(
    kube: Kube, many: str, fields: str | None, labels: str | None, expected: int
) -> None:
    assert len(kube.select("Backup", many, fields=fields, labels=labels)) == expected


def test_other_fields_are_no_selectors(kube: Kube, many: str) -> None:
    with pytest.raises(ApiError, match="field label not supported") as refused:
        kube.select("Backup", many, fields="spec.retries=2")
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("BackupChain", "spec.vmRef.name"),
        ("BackupChain", "spec.repositoryRef.name"),
        ("BackupRepository", "spec.claimName"),
        ("ProtectedVM", "spec.applianceRef.name"),
    ],
)
def test_other_kinds_are_found_by_their_references(kube: Kube, many: str, kind: str, field: str) -> None:
    assert kube.select(kind, many, fields=f"{field}=x") == []


@pytest.mark.parametrize("kind", OUR_KINDS)
def test_columns(kube: Kube, many: str, kind: str) -> None:
    assert kube.columns(kind, many) == BASE_COLUMNS[kind]


def test_cells_of_a_backup(kube: Kube, many: str) -> None:
    status = {
        "progress": {"summary": "42%", "rate": "120 MiB/s", "eta": "3m"},
        "stored": "1.5 GiB",
        "message": "2 disks",
        "chainName": "db-fast",
        "nodeName": "worker",
    }
    kube.merge("Backup", "db-fast-completed", many, {"status": status}, sub="status")
    rows = {row["Name"]: row for row in kube.table("Backup", many)}
    shown = rows["db-fast-completed"]
    assert [shown[c] for c in ("VM", "Type", "Phase", "Progress", "Rate", "Stored", "Repository")] == [
        "db", "Full", "Completed", "42%", "120 MiB/s", "1.5 GiB", "fast",
    ]  # fmt: skip
    assert [shown[c] for c in ("ETA", "Chain", "Node", "Message")] == ["3m", "db-fast", "worker", "2 disks"]
