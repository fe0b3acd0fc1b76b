"""What of a Backup's references is missing or not ready, and in which order that is reported."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import ready_status

from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec
from sendense_operator.reconcile.backups.backup_status import ObservedBackup
from sendense_operator.reconcile.backups.references import decide_references, known_vm
from sendense_operator.reconcile.state.problem import Meaning

BACKUP = ObservedBackup.of(sample.backup())
STORE = sample.repository("store", ready_status(repositoryID="repo-1"))
VMA = sample.appliance("vma", ready_status("Healthy"))


def changed(obj: Obj) -> Obj:
    return {**obj, "metadata": {**obj["metadata"], "generation": 2}}


def unready(kind: str, reason: str, message: str = "why") -> Obj:
    make = sample.repository if kind == "store" else sample.appliance
    return make(kind, ready_status(reason, status="False", message=message))


@pytest.mark.parametrize(
    ("repository", "appliance", "reason", "meaning"),
    [
        (STORE, VMA, None, None),
        (None, VMA, "RepositoryNotFound", Meaning.WAIT),
        (sample.deleting(STORE), VMA, "RepositoryNotFound", Meaning.WAIT),
        (STORE, None, "ApplianceNotFound", Meaning.WAIT),
        (STORE, sample.deleting(VMA), "ApplianceNotFound", Meaning.WAIT),
        (None, None, "RepositoryNotFound", Meaning.WAIT),
        (sample.repository(), VMA, "RepositoryNotReady", Meaning.WAIT),
        (changed(STORE), VMA, "RepositoryNotReady", Meaning.WAIT),
        (unready("store", "ClaimNotFound"), VMA, "RepositoryNotReady", Meaning.WAIT),
        (sample.repository("store", ready_status()), VMA, "RepositoryNotReady", Meaning.WAIT),
        (STORE, sample.appliance(), "ApplianceNotReady", Meaning.WAIT),
        (STORE, changed(VMA), "ApplianceNotReady", Meaning.WAIT),
        (STORE, unready("vma", "SecretNotFound"), "SecretNotFound", Meaning.WAIT),
        (STORE, unready("vma", "SecretInvalid"), "SecretInvalid", Meaning.WAIT),
        (STORE, unready("vma", "ApplianceInvalid"), "ApplianceNotReady", Meaning.WAIT),
        (STORE, unready("vma", "ApplianceUnreachable"), "ApplianceNotReady", Meaning.RETRY),
        (STORE, unready("vma", "ApplianceError"), "ApplianceNotReady", Meaning.RETRY),
    ],
)
def test_decide(repository: Obj | None, appliance: Obj | None, reason: str | None, meaning: Meaning | None) -> None:
    problem = decide_references(BACKUP, repository, "vma", appliance)
    assert (problem.reason if problem else None) == reason
    assert (problem.meaning if problem else None) == meaning


def test_the_message_names_the_object_and_passes_its_reason_on() -> None:
    problem = decide_references(BACKUP, unready("store", "ClaimPending", "not bound"), "vma", VMA)
    assert problem is not None
    assert problem.message == "repository store: ClaimPending: not bound"
    missing = decide_references(BACKUP, STORE, "vma", None)
    assert missing is not None
    assert missing.message == "there is no VMwareAppliance vma"


FULL = ready_status("RepositoryFull", status="False", repositoryID="repo-1")
LOOKS = ObservedBackup.of(
    sample.backup(
        "b1",
        {
            "workerDeath": "OOMKilled, exit code 137",
            "vmName": "db01",
            "disks": [{"id": 0, "key": 2000, "virtualSize": sample.GIB}, {"id": 1, "key": 2001, "virtualSize": 512}],
        },
    )
)


@pytest.mark.parametrize(
    ("repository", "appliance", "reason"),
    [
        (STORE, unready("vma", "ApplianceUnreachable"), None),
        (STORE, unready("vma", "SecretNotFound"), None),
        (STORE, sample.appliance(), None),
        (unready("store", "RepositoryFull"), VMA, "RepositoryNotReady"),  # it was never ready
        (sample.repository("store", FULL), VMA, None),
        (unready("store", "StorageError"), VMA, "RepositoryNotReady"),
        (sample.repository(), VMA, "RepositoryNotReady"),
        (None, VMA, "RepositoryNotFound"),
        (STORE, None, "ApplianceNotFound"),
    ],
)
def test_a_look_for_a_manifest_needs_the_repository_alone(
    repository: Obj | None, appliance: Obj | None, reason: str | None
) -> None:
    problem = decide_references(LOOKS, repository, "vma", appliance)
    assert (problem.reason if problem else None) == reason
    assert problem is None or problem.meaning is Meaning.WAIT, "only the deadline ends it"


def test_a_look_takes_the_disks_that_the_worker_before_was_told_of() -> None:
    found = known_vm(LOOKS, ProtectedVMSpec.model_validate(sample.protected_vm()["spec"]))
    assert (found.vm.name, found.vm.path) == ("db01", "/DC1/vm/db")
    assert [(disk.index, disk.key, disk.virtual_size) for disk in found.disks] == [
        (0, 2000, sample.GIB),
        (1, 2001, 512),
    ]
