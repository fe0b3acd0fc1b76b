"""Which keys an event puts into the queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import NAMESPACE, completed_answer, condition, ended, job, pod, stamp

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.object_names import worker_name
from sendense_operator.controller.handlers import (
    SETTLE_S,
    keys_of_backup,
    keys_of_chain,
    keys_of_job,
    keys_of_pod,
    keys_of_reference,
    keys_of_restore,
    named,
    remember_answer,
    settling_s,
)
from sendense_operator.reconcile.chains.chain_reconciler import key_of_chain
from sendense_operator.reconcile.state.hints import WatchHints
from sendense_operator.reconcile.state.keys import Key, Work

BACKUP = Key(Work.BACKUP, NAMESPACE, "b1")
CHAIN = Key(Work.CHAIN, NAMESPACE, "db/store")
STORE = Key(Work.REPOSITORY, NAMESPACE, "store")
VMA = Key(Work.APPLIANCE, NAMESPACE, "vma")
WAKE = Key(Work.WAKE, NAMESPACE)
WORKER = {
    names.LABEL_COMPONENT: "worker",
    names.LABEL_BACKUP: "b1",
    names.LABEL_BACKUP_UID: "uid-1",
    names.LABEL_REPOSITORY: "store",
    names.LABEL_APPLIANCE: "vma",
}
PROBE = {names.LABEL_COMPONENT: "probe", names.LABEL_REPOSITORY: "store"}
RESTORE = Key(Work.RESTORE, NAMESPACE, "r1")
RESTORER = {**PROBE, names.LABEL_COMPONENT: names.COMPONENT_RESTORE, names.LABEL_RESTORE: "r1"}
VERIFICATION = {**PROBE, names.LABEL_COMPONENT: names.COMPONENT_VERIFICATION, names.LABEL_VM: "db"}


def backup(phase: str | None = None, **meta: object) -> Obj:
    obj = sample.backup("b1", {"phase": phase, "observedGeneration": 1} if phase else None)
    return {**obj, "metadata": {**obj["metadata"], **meta}}


def labelled_backup(phase: str, **meta: object) -> Obj:
    return backup(phase, labels={names.LABEL_PHASE: phase}, **meta)


HELD = {"finalizers": [names.FINALIZER]}
KEPT = {"finalizers": [names.FINALIZER_RESTORE_POINT]}
GOING = {"deletionTimestamp": stamp()}


@pytest.mark.parametrize(
    ("event", "body", "keys"),
    [
        (None, backup(), {BACKUP}),
        ("ADDED", backup(), {BACKUP}),
        ("MODIFIED", backup("Running"), {BACKUP}),
        ("MODIFIED", backup("Completed", **HELD), {BACKUP, CHAIN}),
        ("MODIFIED", labelled_backup("Completed", **KEPT), {CHAIN}),
        ("MODIFIED", labelled_backup("Lost", **KEPT), {CHAIN}),
        ("MODIFIED", labelled_backup("Completed"), {BACKUP, CHAIN}),
        ("MODIFIED", backup("Completed", **KEPT), {BACKUP, CHAIN}),
        ("MODIFIED", labelled_backup("Failed"), set()),
        ("MODIFIED", labelled_backup("Failed", **KEPT), set()),
        ("MODIFIED", labelled_backup("Completed", **KEPT, generation=2), {BACKUP, CHAIN}),
        ("MODIFIED", labelled_backup("Failed", generation=2), {BACKUP}),
        ("MODIFIED", backup("Failed"), {BACKUP}),
        ("MODIFIED", backup("Failed", **HELD), {BACKUP}),
        ("MODIFIED", backup("Running", **HELD, **GOING), {BACKUP, CHAIN}),
        ("MODIFIED", backup("Completed", **GOING), {BACKUP, CHAIN}),
        ("MODIFIED", backup("Failed", **KEPT, **GOING), {BACKUP, CHAIN}),
        ("DELETED", backup("Running", **GOING), {CHAIN, WAKE}),
        ("DELETED", backup("Completed"), {CHAIN, WAKE}),
    ],
)
def test_backups(event: str | None, body: Obj, keys: set[Key]) -> None:
    assert set(keys_of_backup(event, body)) == keys


ADOPTED = {"labels": {names.LABEL_ADOPTED: "true"}}


@pytest.mark.parametrize(
    ("key", "event", "body", "seconds"),
    [
        (CHAIN, "MODIFIED", backup("Completed", **ADOPTED), SETTLE_S),
        (CHAIN, None, backup("Completed"), SETTLE_S),
        (BACKUP, None, backup("Completed", **ADOPTED), 0),
        (CHAIN, "MODIFIED", backup("Completed"), 0),
        (CHAIN, "MODIFIED", backup("Completed", **ADOPTED, **GOING), 0),
        (CHAIN, None, backup("Completed", **GOING), 0),
        (CHAIN, "DELETED", backup("Completed", **ADOPTED), 0),
    ],
)
def test_what_can_wait_until_more_of_it_came(key: Key, event: str | None, body: Obj, seconds: float) -> None:
    assert settling_s(key, event, body) == seconds


def chain(known: int | None, **meta: object) -> Obj:
    spec = {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}}
    obj = sample.custom("BackupChain", "db-store", spec, {"observedGeneration": known} if known else None)
    return {**obj, "metadata": {**obj["metadata"], **meta}}


@pytest.mark.parametrize(
    ("event", "body", "keys"),
    [
        ("MODIFIED", chain(1), []),
        ("MODIFIED", chain(None), [CHAIN]),
        ("MODIFIED", chain(1, generation=2), [CHAIN]),
        ("MODIFIED", chain(1, **GOING), [CHAIN]),
        ("MODIFIED", chain(1, annotations={names.ANNOTATION_VERIFY: "now"}), [CHAIN]),
        ("MODIFIED", chain(1, annotations={names.ANNOTATION_CONSOLIDATE: "now"}), [CHAIN]),
        ("ADDED", chain(None), [CHAIN]),
        ("DELETED", chain(1), [CHAIN]),
        (None, chain(1), [CHAIN]),
    ],
)
def test_a_chain_is_not_looked_at_for_what_was_just_written(event: str | None, body: Obj, keys: list[Key]) -> None:
    assert keys_of_chain(event, body) == keys


@pytest.mark.parametrize(
    ("event", "body", "keys"),
    [
        ("ADDED", job(labels=WORKER), {BACKUP, STORE, VMA}),
        ("MODIFIED", job(labels=WORKER), {BACKUP}),
        ("MODIFIED", job("j", condition("Complete"), labels=WORKER), {BACKUP, STORE, VMA, WAKE}),
        ("DELETED", job(labels=WORKER), {BACKUP, STORE, VMA, WAKE}),
        ("ADDED", job(labels=PROBE), {STORE}),
        ("DELETED", job(labels=PROBE), {STORE}),
        ("MODIFIED", job(labels=VERIFICATION), {CHAIN}),
        ("MODIFIED", job(labels={**VERIFICATION, names.LABEL_COMPONENT: names.COMPONENT_CONSOLIDATION}), {CHAIN}),
        ("DELETED", job(labels={names.LABEL_COMPONENT: names.COMPONENT_VERIFICATION}), set()),
        ("MODIFIED", job(labels=RESTORER), {RESTORE}),
        ("MODIFIED", job("j", condition("Complete"), labels=RESTORER), {RESTORE, WAKE}),
        ("DELETED", job(labels=RESTORER), {RESTORE, WAKE}),
    ],
)
def test_jobs(event: str | None, body: Obj, keys: set[Key]) -> None:
    assert set(keys_of_job(event, body)) == keys


def restore(phase: str | None = None, **meta: object) -> Obj:
    obj = sample.restore("r1", {"phase": phase, "observedGeneration": 1} if phase else None)
    return {**obj, "metadata": {**obj["metadata"], **meta}}


@pytest.mark.parametrize(
    ("event", "body", "keys"),
    [
        (None, restore(), [RESTORE]),
        ("MODIFIED", restore("Running"), [RESTORE]),
        ("MODIFIED", restore("Completed", **HELD), [RESTORE]),
        ("MODIFIED", restore("Completed"), []),
        ("MODIFIED", restore("Failed", generation=2), [RESTORE]),
        ("MODIFIED", restore("Completed", **HELD, **GOING), [RESTORE]),
        ("DELETED", restore("Running"), [WAKE]),
    ],
)
def test_restores(event: str | None, body: Obj, keys: list[Key]) -> None:
    assert keys_of_restore(event, body) == keys


REFERENCES = (
    (Work.REPOSITORY, sample.repository),
    (Work.VM, sample.protected_vm),
    (Work.APPLIANCE, sample.appliance),
)


def ready_but(**changes: Any) -> Obj:
    status = sample.ready_status("Fine", message="50 GiB free")
    return {**status, "conditions": [{**status["conditions"][0], **changes}]}


@pytest.mark.parametrize(("work", "make"), REFERENCES)
@pytest.mark.parametrize(
    ("event", "status", "meta", "wakes"),
    [
        ("MODIFIED", ready_but(), {}, False),
        ("MODIFIED", {**ready_but(), "activeBackups": 3, "lastProbeTime": stamp(9)}, {}, False),
        ("MODIFIED", ready_but(message="49 GiB free", lastTransitionTime=stamp(9)), {}, False),
        (None, ready_but(), {}, False),
        ("MODIFIED", ready_but(status="False", reason="ClaimLost"), {}, True),
        ("MODIFIED", ready_but(observedGeneration=2), {}, True),
        ("MODIFIED", {**ready_but(), "repositoryID": "repo-2"}, {}, True),
        ("MODIFIED", {}, {}, True),
        ("MODIFIED", ready_but(), {"generation": 2}, True),
        ("MODIFIED", ready_but(), {"deletionTimestamp": stamp()}, True),
        ("MODIFIED", ready_but(), {"uid": "another one of that name"}, True),
        ("DELETED", ready_but(), {}, True),
    ],
)
def test_who_waits_is_woken_by_what_it_waits_for(
    work: Work, make: Callable[..., Obj], event: str | None, status: Obj, meta: Obj, wakes: bool
) -> None:
    hints, obj = WatchHints(), make("x", ready_but())
    key = Key(work, NAMESPACE, "x")
    assert keys_of_reference(work, "ADDED", obj, hints) == [key, WAKE]
    changed = {**obj, "status": status, "metadata": {**obj["metadata"], **meta}}
    assert keys_of_reference(work, event, changed, hints) == ([key, WAKE] if wakes else [key])
    if event == "DELETED":
        assert hints.waited_for.values() == []


def test_chains_are_known_by_what_they_are_of() -> None:
    spec = {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}}
    assert key_of_chain(sample.custom("BackupChain", "db-store-1234", spec)) == CHAIN


def labelled(labels: dict[str, str], **status: object) -> Obj:
    found = pod(**status)  # type: ignore[arg-type]
    job = worker_name(labels.get(names.LABEL_BACKUP, ""), labels.get(names.LABEL_BACKUP_UID, ""))
    owner = {"uid": "job-uid", "kind": "Job", "name": job, "controller": True}
    meta = {**found["metadata"], "name": f"{job}-x7k2p", "labels": labels, "ownerReferences": [owner]}
    return {**found, "metadata": meta}


@pytest.mark.parametrize(("labels", "keys"), [(WORKER, [BACKUP]), (PROBE, [STORE])])
def test_pods(labels: dict[str, str], keys: list[Key]) -> None:
    assert keys_of_pod(labelled(labels)) == keys


@pytest.mark.parametrize(("labels", "uid"), [(WORKER, "uid-1"), (PROBE, "job-uid")])
def test_the_answer_of_a_pod_that_goes_is_kept(labels: dict[str, str], uid: str) -> None:
    hints, answer = WatchHints(), completed_answer()
    remember_answer(labelled(labels), hints)
    assert hints.answers.get(uid) is None
    remember_answer(labelled(labels, phase="Succeeded", containerStatuses=ended(answer.to_message())), hints)
    assert hints.answers.get(uid) == answer


def test_the_answer_of_somebody_elses_pod_is_not_kept() -> None:
    hints = WatchHints()
    forged = labelled(WORKER, phase="Succeeded", containerStatuses=ended(completed_answer().to_message()))
    del forged["metadata"]["ownerReferences"]
    remember_answer(forged, hints)
    assert hints.answers.values() == []


def test_keys_read_well_in_a_log() -> None:
    assert (str(BACKUP), str(WAKE), str(Key(Work.RESYNC))) == ("Backup/shop/b1", "Wake/shop", "Resync")


def test_a_job_without_our_names_is_nobodys() -> None:
    keys = keys_of_pod({"metadata": {"namespace": "ns", "labels": {names.LABEL_COMPONENT: "worker"}}})
    assert named([*keys, Key(Work.WAKE, "ns")]) == [Key(Work.WAKE, "ns")]
