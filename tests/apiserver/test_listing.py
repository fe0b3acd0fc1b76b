"""What `kubectl get` shows and can filter by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, product

import pytest
from tests.support import manifests, namespaces
from tests.support.kube import GROUP, OUR_KINDS, ApiError, Kube
from tests.support.waiting import until, wait_for

FILTERS = {
    "vm": ("db", "web"),
    "repository": ("fast", "slow"),
    "type": ("Full", "Incremental"),
    "phase": ("Completed", "Failed"),
}
"""By the name of the label that the operator keeps."""
FIELDS = {
    "vm": "spec.vmRef.name",
    "repository": "spec.repositoryRef.name",
    "type": "spec.type",
    "phase": "status.phase",
}
BASE_COLUMNS = {
    "Backup": ["Name", "VM", "Type", "Phase", "Progress", "Rate", "Duration", "Stored", "Repository", "Age"],
    "BackupChain": [
        "Name",
        "VM",
        "Repository",
        "Points",
        "Latest",
        "Depth",
        "Stored",
        "Ready",
        "State",
        "Age",
    ],
    "BackupPolicy": ["Name", "Repository", "VMs", "Within", "Ready", "Reason", "Last", "Next", "Suspended", "Age"],
    "BackupRepository": ["Name", "Claim", "Ready", "Reason", "Free", "Points", "Active", "Age"],
    "ProtectedVM": ["Name", "Path", "Appliance", "Ready", "Reason", "Size", "Latest", "Next", "Protected", "Age"],
    "Restore": ["Name", "VM", "Backup", "Phase", "Progress", "Rate", "Duration", "Age"],
    "VMwareAppliance": ["Name", "URL", "Ready", "Reason", "Active", "Age"],
}


@pytest.fixture(scope="module")
def many(kube: Kube, settled: Callable[..., str]) -> Iterator[str]:
    """A namespace with a Backup for each VM, repository, type and phase, named by them, with the operator's labels."""
    with namespaces.temporary(kube, "listing") as name:
        for chosen in product(*FILTERS.values()):
            vm, repository, kind, phase = chosen
            backup = "-".join(chosen).lower()
            labels = {f"{GROUP}/{label}": value for label, value in zip(FILTERS, chosen, strict=True)}
            settled(backup, name, labels=labels, vm=vm, repository=repository, type=kind)
            kube.merge("Backup", backup, name, {"status": {"phase": phase}}, sub="status")
            # as the controller does, where one runs
            kube.merge("Backup", backup, name, {"metadata": {"labels": labels}})
        # One that runs may have written the label of the phase before.
        wait_for("the labels", partial(_labelled, kube, name))
        yield name


def _labelled(kube: Kube, namespace: str) -> None:
    for backup in kube.select("Backup", namespace):
        phase = backup["metadata"]["labels"][f"{GROUP}/phase"]
        until(phase == backup["status"]["phase"], f"{backup['metadata']['name']} has {phase}")


@pytest.mark.parametrize(
    ("fields", "labels", "expected"),
    [
        ("status.phase!=Failed", None, 8),
        ("spec.vmRef.name=nobody", None, 0),
        ("metadata.name=db-fast-full-completed", None, 1),
        (None, f"{GROUP}/vm in (web,db),{GROUP}/phase!=Failed", 8),
        ("spec.repositoryRef.name=fast", f"{GROUP}/vm=web,{GROUP}/type=Incremental", 2),
    ],
)
def test_backups_are_found_by_fields_and_labels(
    kube: Kube, many: str, fields: str | None, labels: str | None, expected: int
) -> None:
    assert len(kube.select("Backup", many, fields=fields, labels=labels)) == expected


@pytest.mark.parametrize("chosen", [c for n in range(1, 5) for c in combinations(FILTERS, n)], ids="-".join)
def test_each_filter_alone_and_combined(kube: Kube, many: str, chosen: tuple[str, ...]) -> None:
    """By fields, by labels, and half by each: the same Backups."""
    fields = [f"{FIELDS[name]}={FILTERS[name][0]}" for name in chosen]
    labels = [f"{GROUP}/{name}={FILTERS[name][0]}" for name in chosen]
    half = len(chosen) // 2
    found = [
        [backup["metadata"]["name"] for backup in kube.select("Backup", many, fields=by_field, labels=by_label)]
        for by_field, by_label in (
            (",".join(fields), None),
            (None, ",".join(labels)),
            (",".join(fields[:half]), ",".join(labels[half:])),
        )
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 2 ** (len(FILTERS) - len(chosen))


def test_other_fields_are_no_selectors(kube: Kube, many: str) -> None:
    with pytest.raises(ApiError, match="field label not supported") as refused:
        kube.select("Backup", many, fields="spec.retries=2")
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("BackupChain", "spec.vmRef.name"),
        ("BackupChain", "spec.repositoryRef.name"),
        ("BackupPolicy", "spec.repositoryRef.name"),
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
    kube.merge("Backup", "db-fast-full-completed", many, {"status": status}, sub="status")
    rows = {row["Name"]: row for row in kube.table("Backup", many)}
    shown = rows["db-fast-full-completed"]
    assert [shown[c] for c in ("VM", "Type", "Phase", "Progress", "Rate", "Stored", "Repository")] == [
        "db", "Full", "Completed", "42%", "120 MiB/s", "1.5 GiB", "fast",
    ]  # fmt: skip
    assert [shown[c] for c in ("ETA", "Chain", "Node", "Message")] == ["3m", "db-fast", "worker", "2 disks"]


def test_cells_of_a_chain(kube: Kube, many: str) -> None:
    """Whether the VM is protected, in one line."""
    kube.create(manifests.backup_chain("db-fast", many, vm="db", repository="fast"))
    time = "2025-10-05T12:00:00Z"
    ready = {"type": "Ready", "status": "False", "reason": "Damaged", "message": "b", "lastTransitionTime": time}
    status = {
        "points": 3,
        "latestTime": time,
        "depth": 2,
        "stored": "1.5 GiB",
        "next": {"type": "Full", "reason": "ParentUnverified"},
        "conditions": [ready],
    }
    kube.merge("BackupChain", "db-fast", many, {"status": status}, sub="status")
    (row,) = [row for row in kube.table("BackupChain", many) if row["Name"] == "db-fast"]
    shown = [row[column] for column in ("VM", "Repository", "Points", "Depth", "Stored", "Ready", "State", "Next")]
    assert shown == ["db", "fast", 3, 2, "1.5 GiB", "False", "Damaged", "Full"]
