"""Nothing waits silently: manifests come in any order, and each wait has a name and an end."""

from __future__ import annotations

import pytest
from tests.support import images, manifests
from tests.support.objects import find_condition
from tests.support.vma import MIB, Disk
from tests.support.workspace import Workspace

SMALL = Disk("pattern", 8 * MIB)


def test_backup_first_and_everything_else_afterwards(space: Workspace) -> None:
    space.backup()
    assert "vm" in space.wait_reason("VMNotFound")
    space.add_vm("vm", SMALL)
    assert "repo" in space.wait_reason("RepositoryNotFound")
    space.kube.create(manifests.repository("repo", space.namespace, claim="repo-claim", minFreeBytes=1 << 20))
    assert "vma" in space.wait_reason("ApplianceNotFound")
    space.add_appliance()
    assert "vcenter" in space.wait_reason("SecretNotFound")
    space.add_secret()
    assert "repo-claim" in space.wait_reason("RepositoryNotReady")
    space.folders["repo"] = space.add_claim("repo-claim")
    space.wait_phase("Completed")
    images.assert_identical(space)


def test_while_it_waits_it_is_pending_and_reconciling(space: Workspace) -> None:
    space.backup()
    space.wait_reason("VMNotFound")
    status = space.status()
    assert status["phase"] == "Pending"
    assert find_condition(status, "Reconciling")["status"] == "True"
    assert find_condition(status, "Stalled") == {}
    assert status["observedGeneration"] == 1
    assert space.jobs() == []


def test_the_deadline_ends_a_wait_and_says_what_was_missing(space: Workspace) -> None:
    space.backup(startDeadlineSeconds=5)
    status = space.wait_phase("Failed")
    stalled = find_condition(status, "Stalled")
    assert stalled["reason"] == "StartDeadlineExceeded"
    assert "VMNotFound" in stalled["message"]
    assert status["completionTime"]
    assert space.get()["metadata"].get("finalizers", []) == []


def test_the_deadline_ends_a_wait_for_a_claim(space: Workspace) -> None:
    space.add_secret()
    space.add_appliance()
    space.add_vm("vm", SMALL)
    space.kube.create(manifests.repository("repo", space.namespace, claim="missing"))
    space.wait_reason("ClaimNotFound", "repo", "BackupRepository")
    space.backup(startDeadlineSeconds=8)
    assert "missing" in find_condition(space.wait_phase("Failed"), "Ready")["message"]


def test_a_claim_that_binds_with_its_first_consumer(space: Workspace) -> None:
    """The cluster's own storage class waits for a pod: the repository's probe is one."""
    space.add_secret()
    space.add_appliance()
    space.add_vm("vm", SMALL)
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    space.kube.create(manifests.manifest("PersistentVolumeClaim", "dynamic", space.namespace, spec))
    space.kube.create(manifests.repository("repo", space.namespace, claim="dynamic", minFreeBytes=1 << 20))
    space.backup()
    status = space.wait_phase("Completed")
    repository = space.wait_ready("repo", "BackupRepository")
    volume = space.kube.get("PersistentVolume", repository["volumeName"])
    (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert status["nodeName"] in term["matchExpressions"][0]["values"]


def test_a_cancelled_wait(space: Workspace) -> None:
    space.backup()
    space.wait_reason("VMNotFound")
    space.kube.merge("Backup", "backup", space.namespace, {"spec": {"cancel": True}})
    status = space.wait_phase("Cancelled")
    assert find_condition(status, "Stalled")["reason"] == "Cancelled"


def test_deleting_a_backup_that_waits(space: Workspace) -> None:
    space.backup()
    space.wait_reason("VMNotFound")
    space.delete_and_wait()


@pytest.mark.parametrize("kind", ["vm", "repository", "appliance", "secret"])
def test_a_thing_that_goes_away_is_waited_for_again(space: Workspace, kind: str) -> None:
    space.ready(SMALL)
    space.wait_ready("vm", "ProtectedVM")
    space.wait_ready("repo", "BackupRepository")
    names = {
        "vm": ("ProtectedVM", "vm", "VMNotFound"),
        "repository": ("BackupRepository", "repo", "RepositoryNotFound"),
        "appliance": ("VMwareAppliance", "vma", "ApplianceNotFound"),
        "secret": ("Secret", "vcenter", "SecretNotFound"),
    }
    gone, name, reason = names[kind]
    space.kube.delete(gone, name, space.namespace)
    if kind == "secret":
        space.wait_reason("SecretNotFound", "vma", "VMwareAppliance")
    space.backup()
    space.wait_reason(reason)
