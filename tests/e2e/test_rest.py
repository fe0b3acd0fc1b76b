"""REST on the cluster: real tokens, the cluster's own roles, backups that run, and files that go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import httpx
import pytest
from tests.support import chart, namespaces, programs, rest
from tests.support.kube import Kube
from tests.support.objects import Obj
from tests.support.points import History
from tests.support.rest import Caller, Endpoint, account, answered
from tests.support.vma import MIB, Disk
from tests.support.waiting import Impossible, NotYet, until, wait_for
from tests.support.workspace import Workspace

VMWARE: Final = "DB01"
"""The VM's name in vCenter, which is none that an object may have."""
SIZE: Final = 8 * MIB
START: Final = {"vm_name": VMWARE, "backup_type": "full", "repository_id": "repo"}


@pytest.fixture
def base(kube: Kube, operator: str) -> Iterator[Endpoint]:
    """Where REST is, and whom to trust there."""
    with rest.endpoint(kube) as found:
        yield found


@pytest.fixture
def editor(space: Workspace, base: Endpoint) -> Caller:
    """Who may back up what is in the workspace."""
    space.add_secret()
    space.add_appliance()
    space.add_repository()
    space.add_vm("vm", Disk("pattern", SIZE), vmware=VMWARE)
    return account(base, space.namespace, "editor", "edit")


def wait_vm(caller: Caller, **wanted: Any) -> Obj:
    """Return the only VM, once REST says this of it."""

    def probe() -> Obj:
        reported = caller.get("vms")
        until(reported["total"] == 1, reported)
        (vm,) = reported["vms"]
        until(all(vm[name] == value for name, value in wanted.items()), vm)
        return dict(vm)

    return wait_for(f"a VM with {wanted}", probe)


def wait_completed(caller: Caller, backup_id: str) -> Obj:
    """Return the backup, once it is completed."""

    def probe() -> Obj:
        reported = caller.get(f"backup/{backup_id}")
        if reported["status"] == "failed":
            raise Impossible(reported["error_message"])
        until(reported["status"] == "completed", reported)
        return reported

    return wait_for(f"{backup_id} completed", probe, timeout=180)


def wait_chain(caller: Caller, *backups: str, **query: str) -> Obj:
    """Return the chain, once these are its backups."""

    def probe() -> Obj:
        answer = caller.call("GET", "backup/chain", params=query)
        until(answer.is_success, answer.text)
        reported: Obj = answer.json()
        until([one["backup_id"] for one in reported["backups"]] == list(backups), reported)
        return reported

    return wait_for(f"a chain of {', '.join(backups)}", probe)


def delete(caller: Caller, backup_id: str) -> Obj:
    """Return what is reported about the deletion; the backup is gone afterwards."""
    answer = caller.call("DELETE", f"backup/{backup_id}")
    reported = answered(answer, 202, 200)
    assert reported["status"] == {202: "deleting", 200: "deleted"}[answer.status_code]

    def probe() -> None:
        now = caller.call("GET", f"backup/{backup_id}")
        if now.status_code != httpx.codes.NOT_FOUND:
            raise NotYet(f"{now.status_code}: {now.text}")

    wait_for(f"{backup_id} gone", probe)
    return reported


def test_from_a_start_to_a_deletion(space: Workspace, editor: Caller, history: History) -> None:
    vm = wait_vm(editor, vm_name=VMWARE, ready=True)
    assert (vm["vm_context_id"], vm["protected"], vm["total_bytes"]) == ("vm", False, SIZE)
    full = _full(editor, history)
    space.vma.write(VMWARE, count=4, size=4096, seed=1)
    incr = _increment(editor, history)
    history.assert_identical("full", incr["backup_id"])
    _lists(editor, incr["backup_id"])
    chain = wait_chain(editor, "full", incr["backup_id"], vm_name=VMWARE)
    assert (chain["vm_context_id"], chain["full_backup_id"], chain["backup_count"]) == ("vm", "full", 2)
    protected = wait_vm(editor, protected=True)["protection"]
    assert [(one["repository_id"], one["restore_points"]) for one in protected] == [("repo", 2)]
    _deletions(space, editor, full, incr)
    assert_audited(space, editor, "start", "delete")


def _full(editor: Caller, history: History) -> Obj:
    """By the name in vCenter, with a name of its own."""
    history.keep("full")
    tags = {"team": "shop", "note": "two words"}
    wanted = {**START, "backup_id": "full", "policy_id": "daily", "tags": tags}
    made = answered(editor.call("POST", "backup/start", json=wanted), 202)
    assert (made["backup_id"], made["vm_context_id"], made["vm_name"]) == ("full", "vm", VMWARE)
    assert editor.status("POST", "backup/start", json=wanted) == httpx.codes.CONFLICT
    full = wait_completed(editor, "full")
    assert (full["type"], full["policy_id"], full["tags"]) == ("full", "daily", tags)
    assert full["change_id"]
    assert full["total_bytes"] == SIZE
    assert full["created_at"] <= full["started_at"] <= full["completed_at"]
    return full


def _increment(editor: Caller, history: History) -> Obj:
    """By the name of the ProtectedVM, with a name that is made up."""
    history.keep("next")
    wanted = {"vm_context_id": "vm", "backup_type": "incremental", "repository_id": "repo"}
    made = answered(editor.call("POST", "backup/start", json=wanted), 202)
    history.kept[made["backup_id"]] = history.kept.pop("next")
    incr = wait_completed(editor, made["backup_id"])
    assert incr["type"] == "incremental"
    return incr


def _lists(editor: Caller, incr: str) -> None:
    expected: list[tuple[Obj, list[str], int]] = [
        ({}, [incr, "full"], 2),
        ({"vm_name": VMWARE}, [incr, "full"], 2),
        ({"vm_context_id": "vm", "backup_type": "incremental"}, [incr], 1),
        ({"repository_id": "repo", "status": "completed", "backup_type": "full"}, ["full"], 1),
        ({"status": "failed"}, [], 0),
        ({"repository_id": "other"}, [], 0),
        ({"limit": 1}, [incr], 2),
        ({"limit": 1, "offset": 1}, ["full"], 2),
    ]
    for query, names, total in expected:
        reported = editor.get("backup/list", **query)
        assert ([one["backup_id"] for one in reported["backups"]], reported["total"]) == (names, total), query
    assert editor.status("GET", "backup/list?status=done") == httpx.codes.BAD_REQUEST


def _deletions(space: Workspace, editor: Caller, full: Obj, incr: Obj) -> None:
    """The full's files stay for the increment, and go with it."""
    folder = space.folders["repo"]
    assert {full["file_path"], incr["file_path"]} == set(folder.layers())
    reported = delete(editor, "full")
    assert (reported["freed_bytes"], reported["needed_by"]) == (0, [incr["backup_id"]])
    chain = wait_chain(editor, incr["backup_id"], vm_context_id="vm")
    assert chain["full_backup_id"] == "full"
    reported = delete(editor, incr["backup_id"])
    assert (reported["files"], reported["needed_by"]) == ([incr["file_path"]], [])
    assert reported["freed_bytes"] > 0
    wait_for("all files gone", lambda: until(folder.layers() == [], folder.files()), timeout=60)
    assert editor.get("backup/list")["total"] == 0


def assert_audited(space: Workspace, caller: Caller, *operations: str) -> None:
    """REST's log names the caller, and has its token nowhere."""
    names = [pod["metadata"]["name"] for pod in chart.pods(space.kube, "api")]
    log = "\n".join(space.kube.logs(name, space.operator) for name in names)
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    user = f"system:serviceaccount:{space.namespace}:editor"
    for operation in operations:
        assert any((line.get("audit"), line.get("user")) == (operation, user) for line in lines), operation
    assert caller.token not in log


@pytest.fixture
def elsewhere(kube: Kube) -> Iterator[str]:
    """Another namespace."""
    with namespaces.temporary(kube, "elsewhere") as name:
        yield name


def test_rights_are_those_of_the_cluster(space: Workspace, base: Endpoint, elsewhere: str) -> None:
    here = space.namespace
    space.backup("mine")
    reader = account(base, here, "reader", "view")
    editor = account(base, here, "editor", "edit")
    outsider = account(base, elsewhere, "editor", "edit")
    forbidden, missing = httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND
    assert [one["backup_id"] for one in reader.get("backup/list")["backups"]] == ["mine"]
    assert reader.get("backup/mine")["vm_context_id"] == "vm"
    assert reader.status("POST", "backup/start", json=START) == forbidden
    assert reader.status("DELETE", "backup/mine") == forbidden
    assert editor.status("POST", "backup/start", json=START) == missing, "there is no such VM"
    for path in ("backup/list", "backup/mine", "backup/chain?vm_context_id=vm", "vms"):
        assert outsider.status("GET", path, namespace=here) == forbidden, path
        assert editor.status("GET", path, namespace=elsewhere) == forbidden, path
    assert outsider.status("POST", "backup/start", namespace=here, json=START) == forbidden
    assert outsider.status("DELETE", "backup/mine", namespace=here) == forbidden
    assert outsider.get("backup/list") == {"backups": [], "total": 0}
    assert outsider.status("GET", "backup/mine") == missing
    assert space.get("mine")["metadata"].get("deletionTimestamp") is None


def test_tokens_are_those_of_the_cluster(space: Workspace, base: Endpoint) -> None:
    reader = account(base, space.namespace, "reader", "view")
    other = rest.token(space.namespace, "reader", "--audience=other")
    for token in ("", "nonsense", other, reader.token[:-8]):
        answer = replace(reader, token=token).call("GET", "backup/list")
        assert answer.status_code == httpx.codes.UNAUTHORIZED, answer.text
        assert answer.headers["www-authenticate"] == "Bearer"
    described = httpx.get(f"{base.url}/openapi.json", trust_env=False, verify=base.trust)
    assert "/api/v1/namespaces/{namespace}/backup/start" in described.json()["paths"]


def test_a_right_to_one_backup(space: Workspace, base: Endpoint) -> None:
    space.backup("mine")
    space.backup("other")
    owner = rest.unbound(base, space.namespace, "owner")
    what = ("--verb=get,delete", "--resource=backups.backup.sendense.io", "--resource-name=mine")
    programs.kubectl("create", "role", "owner", *what, "-n", space.namespace)
    rest.bind(space.namespace, "owner", "--role=owner")
    owner.wait_may("GET", "backup/mine")
    for method, path in (("GET", "backup/list"), ("GET", "backup/other"), ("DELETE", "backup/other")):
        assert owner.status(method, path) == httpx.codes.FORBIDDEN, path
    delete(owner, "mine")
    assert space.get("other")["metadata"].get("deletionTimestamp") is None


def test_a_restore_that_waits_is_made_and_deleted_by_editors_only(space: Workspace, base: Endpoint) -> None:
    """Of a backup that has not run, so that no worker is started."""
    space.backup("mine")
    reader, editor = account(base, space.namespace, "reader", "view"), account(base, space.namespace, "editor", "edit")
    wanted = {"restore_id": "back", "backup_id": "mine", "targets": [{"disk_id": 0, "claim_name": "disk-0"}]}
    verified = {"vm_context_id": "vm", "repository_id": "repo", "verify_only": True}
    for body in (wanted, verified):
        assert reader.status("POST", "restore/start", json=body) == httpx.codes.FORBIDDEN
    assert editor.status("POST", "restore/start", json=verified) == httpx.codes.NOT_FOUND, "there is no such repository"
    made = answered(editor.call("POST", "restore/start", json=wanted), 202)
    assert (made["restore_id"], made["vm_context_id"], made["status"]) == ("back", "vm", "pending")
    assert editor.status("POST", "restore/start", json=wanted) == httpx.codes.CONFLICT

    def waits() -> None:
        message = reader.get("restore/back")["message"] or ""
        until(message.startswith("BackupNotReady"), message)

    wait_for("what it waits for", waits)
    assert [one["restore_id"] for one in reader.get("restore/list", vm_context_id="vm")["restores"]] == ["back"]
    assert reader.status("DELETE", "restore/back") == httpx.codes.FORBIDDEN
    answered(editor.call("DELETE", "restore/back"), 202, 200)
    wait_for("gone", lambda: until(editor.status("GET", "restore/back") == httpx.codes.NOT_FOUND, "it is there"))
