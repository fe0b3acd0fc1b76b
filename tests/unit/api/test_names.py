"""Names that programs agree on: safe whatever VMware calls its VMs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.api.v1alpha1 import names

POD_UID = "0b8f2a4e-5f0e-4a7e-9d0c-1c2d3e4f5a6b"
HOSTILE = (
    "",
    "../../etc/passwd",
    "a'b\"c",
    "x,data_file=/etc/shadow",
    'json:{"driver":"nbd"}',
    "new\nline",
    "vm-disk1-vm",
    "ü" * 127 + "x",
    "\udcff",
)


@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("/DC1/vm/pgtest1", "pgtest1"),
        ("/DC1/vm/a folder/pg test", "pg test"),
        ("/DC1/vm/pgtest1/", "pgtest1"),
        ("/DC1/vm/pg%2ftest", "pg%2ftest"),
        ("pgtest1", "pgtest1"),
        ("/", ""),
    ],
)
def test_last_path_element(path: str, last: str) -> None:
    assert names.last_path_element(path) == last


@pytest.mark.parametrize("name", HOSTILE)
def test_vm_key_is_a_label_value_for_any_name(name: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", names.vm_key(name))


@given(st.text(), st.text())
def test_vm_keys_differ_as_names_do(one: str, other: str) -> None:
    assert (names.vm_key(one) == names.vm_key(other)) is (one == other)


@pytest.mark.parametrize(
    ("host", "path", "same"),
    [
        ("vcenter.example", "/DC1/vm/db", True),
        ("VCenter.Example:443", "/DC1/vm/db/", True),
        ("vcenter.example:8443", "/DC1/vm/db", False),
        ("other.example", "/DC1/vm/db", False),
        ("vcenter.example", "/DC1/vm/DB", False),
        ("vcenter.example", "/DC2/vm/db", False),
    ],
)
def test_a_vm_is_the_same_through_any_object(host: str, path: str, same: bool) -> None:
    assert (names.vm_identity(host, path) == names.vm_identity("vcenter.example", "/DC1/vm/db")) is same


@pytest.mark.parametrize("name", HOSTILE)
def test_an_identity_is_a_label_value_for_any_path(name: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", names.vm_identity("vcenter.example", name))


def test_job_id_and_export_name_keep_the_appliances_rules() -> None:
    job = names.vma_job_id(POD_UID)
    assert job.startswith("backup-")
    assert len(job.encode()) <= 244
    assert not re.search(r"-disk\d+-", job)
    assert re.search(r"disk12$", names.export_name(POD_UID, 12))


def test_job_id_leads_back_to_the_pod() -> None:
    assert names.pod_uid_of_job(names.vma_job_id(POD_UID)) == POD_UID


@pytest.mark.parametrize(
    "job", ["", "backup-", POD_UID, f"backup-{POD_UID}x", f"backup-{POD_UID}\n", "backup-pgtest1", f"Backup-{POD_UID}"]
)
def test_foreign_job_ids_lead_nowhere(job: str) -> None:
    assert names.pod_uid_of_job(job) is None


@pytest.mark.parametrize("name", ["a", "pg-1", "0", "a" * 63])
def test_object_names(name: str) -> None:
    assert names.is_object_name(name)


@pytest.mark.parametrize("name", ["", "a" * 64, "A", "a.b", "-a", "a-", "a/b", "..", "a\n", "ü"])
def test_what_is_no_object_name(name: str) -> None:
    assert not names.is_object_name(name)


def test_labels_are_in_our_group() -> None:
    labels = [value for name, value in vars(names).items() if name.startswith(("LABEL_", "ANNOTATION_"))]
    assert len(set(labels)) == len(labels) > 5
    assert all(label.startswith("backup.sendense.io/") for label in labels)
