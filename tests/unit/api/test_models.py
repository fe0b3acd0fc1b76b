"""The models against what the API server would accept, and their JSON."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sendense_operator.api.v1alpha1.backup import BackupSpec, BackupStatus
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec
from sendense_operator.api.v1alpha1.restore_target import TARGETS, RestoreTarget
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec

APPLIANCE = {
    "url": "http://vma.example:8081",
    "vcenter": {"host": "vcenter.example", "credentialsSecretRef": {"name": "vcenter"}},
}


def test_spec_in_camel_case() -> None:
    spec = BackupSpec.model_validate({"vmRef": {"name": "db"}, "repositoryRef": {"name": "repo"}})
    assert spec.vm_ref.name == "db"
    assert spec.to_dict()["startDeadlineSeconds"] == 86_400


def test_absent_values_are_left_out() -> None:
    assert BackupStatus().to_dict() == {"conditions": [], "disks": []}


def test_initialisms_keep_their_spelling() -> None:
    status = BackupStatus(job_id="backup-x", repository_id="r")
    assert {"jobID", "repositoryID"} <= status.to_dict().keys()


def test_fields_of_a_newer_version_are_ignored() -> None:
    spec = BackupRepositorySpec.model_validate({"claimName": "claim", "encryption": {"key": "x"}})
    assert spec.claim_name == "claim"


@pytest.mark.parametrize("path", ["", "a", "a/b.c", "_a-b/c_d"])
def test_folders_of_a_repository(path: str) -> None:
    assert BackupRepositorySpec.model_validate({"claimName": "claim", "path": path}).path == path


@pytest.mark.parametrize("path", ["..", "a/..", "../a", "/a", "a/", "a//b", ".", "./a", "a/.b", "a b", "-a"])
def test_folders_outside_of_a_repository(path: str) -> None:
    with pytest.raises(ValidationError):
        BackupRepositorySpec.model_validate({"claimName": "claim", "path": path})


@pytest.mark.parametrize(
    "url",
    [
        "http://vma",
        "https://vma.example:8081",
        "http://10.0.0.1:8081/appliance/one",
        "http://[fd00::1]:8081",
    ],
)
def test_urls(url: str) -> None:
    assert VMwareApplianceSpec.model_validate({**APPLIANCE, "url": url}).url == url


@pytest.mark.parametrize(
    "url", ["vma", "ftp://vma", "http://u:p@vma", "http://vma?x", "http://vma/#x", "http://vma /", "http://"]
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValidationError):
        VMwareApplianceSpec.model_validate({**APPLIANCE, "url": url})


def test_an_appliance_is_trusted_with_nothing_by_default() -> None:
    traits = VMwareApplianceSpec.model_validate(APPLIANCE).traits.to_dict()
    assert traits == {
        "zeroWrites": "Refuse",
        "fullCoverage": "WholeDisk",
        "changeIDAsks": "AlwaysZero",
        "callbackRetries": "Never",
    }


def test_no_discovery_unless_it_is_requested() -> None:
    assert VMwareApplianceSpec.model_validate(APPLIANCE).discovery is None


@pytest.mark.parametrize(
    "discovery",
    [
        {},
        {"datacenters": []},
        {"datacenters": [""]},
        {"datacenters": ["DC1"], "namePatterns": [""]},
        {"datacenters": ["DC1"], "excludePatterns": ["a\nb"]},
        {"datacenters": ["DC1"], "namePatterns": ["x" * 257]},
        {"datacenters": ["DC1"], "intervalSeconds": 9},
        {"datacenters": ["DC1"], "labels": [{"name": "rule", "folder": "a", "labels": {}}]},
        {"datacenters": ["DC1"], "labels": [{"name": "rule", "folder": "a", "labels": {"a b": "x"}}]},
        {"datacenters": ["DC1"], "labels": [{"name": "rule", "folder": "a", "labels": {"a": "x y"}}]},
        {"datacenters": ["DC1"], "labels": [{"name": "Rule", "folder": "a", "labels": {"a": "x"}}]},
        {"datacenters": ["DC1"], "labels": [{"folder": "a", "labels": {"a": "x"}}]},
    ],
)
def test_rules_of_discovery_that_make_no_sense(discovery: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="discovery"):
        VMwareApplianceSpec.model_validate({**APPLIANCE, "discovery": discovery})


@pytest.mark.parametrize(
    "uuid", ["", "4210", "4210c0de-0000-4000-8000-00000000000g", "4210c0de00004000800000000000000a"]
)
def test_what_is_no_bios_uuid(uuid: str) -> None:
    with pytest.raises(ValidationError, match="uuid"):
        ProtectedVMSpec.model_validate({"applianceRef": {"name": "vma"}, "path": "/DC1/vm/db", "uuid": uuid})


def test_the_rule_for_one_target_names_each_target() -> None:
    """A target that it does not name could be set beside another one."""
    assert set(TARGETS) == {field.alias for field in RestoreTarget.model_fields.values()}
