import json
import logging
from typing import Any

import httpx
import pytest
from tests.support.objects import Obj
from tests.unit.gateway.rest.described import assert_example
from tests.unit.gateway.rest.rig import FULL, NAMESPACE, RESTORED, backup, restore, running, vm

from sendense_operator.api.v1alpha1.restore import RestoreSpec
from sendense_operator.gateway.rest import examples
from sendense_operator.gateway.rest.rest_app import create_metrics_app
from sendense_operator.logs import AUDIT
from sendense_operator.restore_task import FOLDER_PATTERN
from sendense_operator.views.cached_objects import CachedVM

BASE = "/api/v1/restore"
START = examples.REQUESTS["restore_start"]
TARGETS = START["targets"]
OF_VM = {"vm_name": "DB 01", "repository_id": "main", "verify_only": True}
OF_BACKUP = {"backup_id": FULL}
WEB = {"name": "web"}
SSD = {"datastore": "ssd", "storage_class_name": "fast"}
FILE = {"claim_name": "exports", "format": "OVA"}
FILES = {"backup_id": FULL, "file": FILE}
SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
CLAIM = {"disk_id": 0, "claim_name": "a"}
PATHS = {
    "restore_start": ("POST", f"{BASE}/start"),
    "restore_list": ("GET", f"{BASE}/list"),
    "restore_get": ("GET", f"{BASE}/{RESTORED}"),
    "restore_delete": ("DELETE", f"{BASE}/{RESTORED}"),
}


def several() -> Obj:
    """Return a Backup of two disks."""
    return backup("wide", disks=[{"id": 0, "file": "a"}, {"id": 1, "file": "b"}])


@pytest.mark.parametrize("operation", sorted(PATHS))
@pytest.mark.parametrize("named", [False, True])
async def test_every_example_is_what_is_answered(operation: str, named: bool) -> None:
    method, path = PATHS[operation]
    if named:
        path = path.replace("/api/v1/", f"/api/v1/namespaces/{NAMESPACE}/")
    async with running(backup(), restores=[restore()]) as rig:
        await assert_example(rig, method, path, {"restore_id": RESTORED, "namespace": NAMESPACE})


@pytest.mark.parametrize(
    ("body", "spec"),
    [
        (
            START,
            {
                "source": {"backupRef": {"name": FULL}},
                "target": {"persistentVolumeClaims": [{"disk": 0, "claimName": "db01-disk-0"}]},
            },
        ),
        ({**OF_BACKUP, "virtual_machine": WEB},
         {"source": {"backupRef": {"name": FULL}}, "target": {"virtualMachine": {"name": "web"}}}),
        (
            {
                **OF_BACKUP,
                "virtual_machine": {
                    **WEB, "storage_classes": [SSD], "default_storage_class_name": "slow",
                    "access_modes": ["ReadWriteMany"], "default_network": {"multus": "shop/lan"},
                    "networks": [{"network": "LAN", "pod": True}], "keep_mac_addresses": False,
                    "hardware": {"processors": 2, "memory_bytes": 1 << 30, "disk_bus": "SATA"},
                },
            },
            {
                "source": {"backupRef": {"name": FULL}},
                "target": {
                    "virtualMachine": {
                        "name": "web", "storageClasses": [{"datastore": "ssd", "storageClassName": "fast"}],
                        "defaultStorageClassName": "slow", "accessModes": ["ReadWriteMany"],
                        "defaultNetwork": {"multus": "shop/lan"}, "networks": [{"network": "LAN", "pod": {}}],
                        "keepMacAddresses": False,
                        "hardware": {"processors": 2, "memoryBytes": 1 << 30, "diskBus": "SATA"},
                    }
                },
            },
        ),
        (
            FILES,
            {
                "source": {"backupRef": {"name": FULL}},
                "target": {"file": {"claimName": "exports", "format": "OVA"}},
            },
        ),
        (
            {
                **FILES,
                "file": {
                    **FILE, "folder": "a/b", "create": {"size_bytes": 5},
                    "hardware": {
                        "processors": 3, "memory_bytes": 1 << 30, "firmware": "EFI", "scsi_controller": "Paravirtual"
                    },
                },
            },
            {
                "source": {"backupRef": {"name": FULL}},
                "target": {
                    "file": {
                        "claimName": "exports", "create": {"sizeBytes": 5}, "folder": "a/b", "format": "OVA",
                        "hardware": {
                            "processors": 3, "memoryBytes": 1 << 30, "firmware": "EFI", "scsiController": "Paravirtual"
                        },
                    }
                },
            },
        ),
        (
            OF_VM,
            {
                "source": {"vmRef": {"name": "db01"}, "repositoryRef": {"name": "main"}, "at": "Latest"},
                "verifyOnly": True,
            },
        ),
        (
            {
                "vm_context_id": "db01", "repository_id": "main", "at": "2026-01-31T12:00:00.5+01:00", "disks": [0],
                "targets": [{**CLAIM, "create": {"storage_class_name": "fast"}}],
                "verify_only": False, "allow_damaged": True,
            },
            {
                "source": {
                    "vmRef": {"name": "db01"}, "repositoryRef": {"name": "main"}, "at": "2026-01-31T12:00:00.5+01:00",
                    "disks": [0],
                },
                "target": {
                    "persistentVolumeClaims": [
                        {"disk": 0, "claimName": "a", "create": {"storageClassName": "fast"}}
                    ]
                },
                "allowDamaged": True,
            },
        ),
    ],
)  # fmt: skip
async def test_start_creates_what_was_requested(body: Obj, spec: Obj) -> None:
    async with running(backup()) as rig:
        answer = await rig.call("POST", f"{BASE}/start", json=body)
        assert answer.status_code == 202, answer.text
        (obj,) = rig.world.created
        assert (obj["kind"], obj["spec"]) == ("Restore", spec)
        RestoreSpec.model_validate(obj["spec"])
        assert obj["metadata"]["name"].startswith("restore-db01-2")
        shown = answer.json()
        assert (shown["vm_context_id"], shown["vm_name"], shown["repository_id"]) == ("db01", "DB 01", "main")
        listed = (await rig.call("GET", f"{BASE}/list")).json()
        assert [one["restore_id"] for one in listed["restores"]] == [obj["metadata"]["name"]]


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ("{", 400, "body is not JSON"),
        ([], 400, "body must be an object"),
        ({"targets": TARGETS}, 400, "backup_id or vm_name is required"),
        ({"backup_id": None, "vm_name": ""}, 400, "backup_id or vm_name is required"),
        ({"vm_name": "DB 01", "verify_only": True}, 400, "repository_id is required"),
        ({**START, "backup_id": 1}, 400, "backup_id must be a string"),
        ({**START, "vm_name": "DB 01"}, 400, "vm_name must be left out with backup_id"),
        ({**START, "repository_id": "main"}, 400, "repository_id must be left out with backup_id"),
        ({**START, "at": "latest"}, 400, "at must be left out with backup_id"),
        ({**START, "disks": 0}, 400, "disks must be a list"),
        ({**START, "disks": ["0"]}, 400, "disks.0 must be an integer"),
        ({**START, "disks": [0, 0]}, 400, "disks: disk 0 is there twice"),
        ({**START, "disks": [1]}, 400, "targets: no claim for disk 1"),
        ({**START, "disks": [1], "targets": [{**CLAIM, "disk_id": 1}]}, 400, "disks: the backup has no disk 1"),
        ({**START, "targets": [CLAIM, {"disk_id": 1, "claim_name": "b"}]}, 400, "targets: the backup has no disk 1"),
        ({**START, "disks": [0], "targets": [CLAIM, {"disk_id": 1, "claim_name": "b"}]}, 400,
         "targets: disk 1 is not restored"),
        ({**START, "targets": [CLAIM, {**CLAIM, "claim_name": "b"}]}, 400, "targets: disk 0 is there twice"),
        ({**START, "targets": [CLAIM, {**CLAIM, "disk_id": 1}]}, 400, "targets: claim a is there twice"),
        ({**START, "targets": [{"disk_id": 0}]}, 400, "targets.0.claim_name is required"),
        ({**START, "targets": ["a"]}, 400, "targets.0 must be an object"),
        ({**START, "targets": [{**CLAIM, "disk_id": True}]}, 400, "targets.0.disk_id must be an integer"),
        ({**START, "targets": [{**CLAIM, "create": True}]}, 400, "targets.0.create must be an object"),
        ({**START, "targets": [{**CLAIM, "create": {"size_bytes": 0}}]}, 400,
         "targets.0.create.size_bytes must be at least 1"),
        ({**START, "targets": [{**CLAIM, "create": {"access_modes": ["ReadWriteOnce"] * 2}}]}, 400,
         "targets.0.create.access_modes: ReadWriteOnce is there twice"),
        ({**START, "targets": [{**CLAIM, "create": {"access_modes": ["ReadOnlyMany"]}}]}, 400,
         "targets.0.create.access_modes.0 must be one of: ReadWriteOnce, ReadWriteMany, ReadWriteOncePod"),
        ({**START, "targets": [{**CLAIM, "create": {"access_modes": []}}]}, 400,
         "targets.0.create.access_modes must not be empty"),
        ({**START, "targets": []}, 400, "one of targets, virtual_machine, file is required without verify_only"),
        ({**OF_BACKUP, "targets": TARGETS, "virtual_machine": WEB}, 400,
         "targets must be left out with virtual_machine"),
        ({**OF_BACKUP, "verify_only": True, "virtual_machine": WEB}, 400,
         "virtual_machine must be left out with verify_only"),
        ({**OF_BACKUP, "virtual_machine": {}}, 400, "virtual_machine.name is required"),
        ({**OF_BACKUP, "virtual_machine": {**WEB, "default_network": {}}}, 400,
         "a network needs either pod: true, or multus"),
        ({**OF_BACKUP, "virtual_machine": {**WEB, "networks": [{"network": "LAN", "pod": True}] * 2}}, 400,
         "virtual_machine.networks: network LAN is there twice"),
        ({**OF_BACKUP, "virtual_machine": {**WEB, "storage_classes": [SSD] * 2}}, 400,
         "virtual_machine.storage_classes: datastore ssd is there twice"),
        ({**OF_BACKUP, "virtual_machine": {**WEB, "hardware": {"firmware": "UEFI"}}}, 400,
         "virtual_machine.hardware.firmware must be one of: BIOS, EFI, EFISecureBoot"),
        ({**START, "verify_only": True}, 400, "targets must be left out with verify_only"),
        ({**FILES, "verify_only": True}, 400, "file must be left out with verify_only"),
        ({**FILES, "targets": TARGETS}, 400, "targets must be left out with file"),
        ({**FILES, "file": {"claim_name": "exports"}}, 400, "file.format is required"),
        ({**FILES, "file": {**FILE, "format": "VHD"}}, 400, "file.format must be one of: Raw, QCOW2, VMDK, OVA"),
        ({**FILES, "file": {**FILE, "claim_name": "other/exports"}}, 400, f"file.claim_name must match {SUBDOMAIN}"),
        ({**FILES, "file": {**FILE, "folder": "../x"}}, 400, f"file.folder must match {FOLDER_PATTERN}"),
        ({**FILES, "file": {**FILE, "folder": "/x"}}, 400, f"file.folder must match {FOLDER_PATTERN}"),
        ({**FILES, "file": {**FILE, "hardware": {"processors": 0}}}, 400,
         "file.hardware.processors must be at least 1"),
        ({**FILES, "file": {**FILE, "format": "VMDK", "hardware": {}}}, 400, "file.hardware requires the format OVA"),
        ({**FILES, "file": {**FILE, "create": {"access_modes": ["ReadWriteOnce"] * 2}}}, 400,
         "file.create.access_modes: ReadWriteOnce is there twice"),
        ({**START, "verify_only": "yes"}, 400, "verify_only must be true or false"),
        ({**START, "allow_damaged": 1}, 400, "allow_damaged must be true or false"),
        ({**START, "restore_id": "list"}, 400, "restore_id must be none of: list, start"),
        ({**START, "restore_id": RESTORED}, 409, "name taken"),
        ({**START, "backup_id": "wide"}, 400, "targets: no claim for disk 1"),
        ({**START, "backup_id": "failed"}, 409, "backup_id is no restore point"),
        ({**START, "backup_id": "other"}, 404, "backup not found"),
        ({**START, "backup_id": "../x"}, 404, "backup not found"),
        *(({**OF_VM, "at": at}, 400, "at must be latest or a time such as 2026-01-31T12:00:00Z")
          for at in ("", "Latest", "2026-13-01T00:00:00Z", "2026-01-31T12:00:00", "20260131T120000Z",
                     "1999-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59")),
        ({**OF_VM, "vm_name": "other"}, 404, "VM not found"),
        ({**OF_VM, "vm_context_id": "other"}, 404, "VM not found"),
        ({**OF_VM, "vm_context_id": "fresh"}, 404, "backup chain not found"),
        ({**OF_VM, "repository_id": "other"}, 404, "repository not found"),
    ],
)  # fmt: skip
async def test_wrong_starts(body: Any, status: int, error: str) -> None:
    objects = backup(), several(), backup("failed", phase="Failed")
    async with running(*objects, restores=[restore()]) as rig:
        rig.world.stores.vms.put(CachedVM.from_object(vm("fresh", "Fresh")))
        content = body if isinstance(body, str) else json.dumps(body)
        answer = await rig.call("POST", f"{BASE}/start", content=content)
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert set(answer.json()) == {"error", "details", "timestamp"}
        assert rig.world.created == []


async def test_a_backup_that_has_not_ended_is_waited_for() -> None:
    async with running(backup(phase="Running", disks=[])) as rig:
        answer = await rig.call("POST", f"{BASE}/start", json={**START, "disks": [0], "restore_id": "back"})
        assert (answer.status_code, answer.json()["restore_id"]) == (202, "back")


async def test_restore_points_outlive_the_protected_vm() -> None:
    async with running(backup()) as rig:
        rig.world.stores.vms.remove("uid-vm-db01")
        for names in ({"vm_name": "DB 01"}, {"vm_name": "db01"}, {"vm_context_id": "db01"}):
            body = {"repository_id": "main", "verify_only": True, **names}
            answer = await rig.call("POST", f"{BASE}/start", json=body)
            assert (answer.status_code, answer.json()["vm_context_id"]) == (202, "db01")


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 3),
        ("vm_name=DB%2001", 3),
        ("vm_context_id=db01&status=failed", 1),
        (f"backup_id={FULL}&status=running", 1),
        ("backup_id=other", 0),
        ("repository_id=other", 0),
        ("limit=1&offset=1", 3),
    ],
)
async def test_filters(query: str, count: int) -> None:
    objects = [restore("a"), restore("b", phase="Cancelled"), restore("c", phase="Running")]
    async with running(backup(), restores=objects) as rig:
        got = (await rig.call("GET", f"{BASE}/list?{query}")).json()
        assert got["total"] == count
        if "limit" in query:
            assert [one["restore_id"] for one in got["restores"]] == ["b"]


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", f"{BASE}/list?status=done", 400, "status must be one of: pending, running, completed, failed"),
        ("GET", f"{BASE}/list?limit=x", 400, "limit must be an integer"),
        ("GET", f"{BASE}/other", 404, "restore not found"),
        ("GET", f"{BASE}/start", 405, "method not allowed"),
        ("DELETE", f"{BASE}/list", 405, "method not allowed"),
        ("DELETE", f"{BASE}/other", 404, "restore not found"),
    ],
)
async def test_wrong_calls(method: str, path: str, status: int, error: str) -> None:
    async with running(backup(), restores=[restore()]) as rig:
        answer = await rig.call(method, path)
        assert (answer.status_code, answer.json()["error"]) == (status, error)


@pytest.mark.parametrize(
    ("token", "operation", "status"),
    [
        *(("", operation, 401) for operation in PATHS),
        *(("nobody", operation, 403) for operation in PATHS),
        ("reader", "restore_start", 403),
        ("reader", "restore_delete", 403),
        ("reader", "restore_list", 200),
        ("reader", "restore_get", 200),
        ("owner", "restore_get", 200),
        ("owner", "restore_delete", 202),
        ("owner", "restore_list", 403),
    ],
)
async def test_rights(token: str, operation: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    async with running(backup(), restores=[restore()]) as rig:
        method, path = PATHS[operation]
        answer = await rig.call(method, path, token, **({"json": START} if method == "POST" else {}))
        assert answer.status_code == status
        assert rig.world.created == []
        (line,) = [record.getMessage() for record in caplog.records if record.name == AUDIT]
        assert line.startswith(f"request audit={operation} method={method} ")
        assert (f"target={RESTORED}" in line) == (RESTORED in path)


@pytest.mark.parametrize(
    ("body", "granted", "status"),
    [
        (START, {("create", "")}, 403),
        (START, {("create", ""), ("get", FULL)}, 202),
        (START, {("get", FULL)}, 403),
        (OF_VM, {("create", ""), ("get", "main")}, 403),
        (OF_VM, {("create", ""), ("list", "")}, 403),
        (OF_VM, {("create", ""), ("list", ""), ("get", "main")}, 202),
    ],
)
async def test_who_restores_may_see_what_is_restored(body: Obj, granted: set[tuple[str, str]], status: int) -> None:
    async with running(backup()) as rig:
        rig.world.granted = granted
        answer = await rig.call("POST", f"{BASE}/start", "owner", json=body)
        assert answer.status_code == status
        assert set(rig.world.tokens) <= {"owner"}


async def test_delete_stops_what_runs() -> None:
    running_one = restore("busy", phase="Running")
    async with running(backup(), restores=[restore(), running_one]) as rig:
        reported = (await rig.call("DELETE", f"{BASE}/busy")).json()
        assert reported == {
            "restore_id": "busy", "status": "deleting",
            "message": "it is stopped; its unfinished images and claims that it made are removed",
        }  # fmt: skip
        assert (await rig.call("GET", f"{BASE}/busy")).json()["current_phase"] == "deleting"
        rig.world.finalizers = False
        gone = await rig.call("DELETE", f"{BASE}/{RESTORED}")
        assert (gone.status_code, gone.json()["status"]) == (200, "deleted")
        assert (await rig.call("DELETE", f"{BASE}/{RESTORED}")).status_code == 404


async def test_a_deletion_says_what_else_goes() -> None:
    said = {}
    for phase in ("Pending", "Failed", "Completed"):
        async with running(backup(), restores=[restore("one", phase=phase)]) as rig:
            said[phase] = (await rig.call("DELETE", f"{BASE}/one")).json()["message"]
    assert "it is stopped" in said["Pending"]
    assert said["Failed"] == "claims that it made are removed"
    assert said["Completed"] == "what it wrote to claims stays"


async def test_metrics_count_restores() -> None:
    async with running(backup(), restores=[restore()]) as rig:
        await rig.call("GET", f"{BASE}/list")
        transport = httpx.ASGITransport(create_metrics_app(rig.app))
        async with httpx.AsyncClient(transport=transport, base_url="http://metrics") as numbers:
            text = (await numbers.get("/metrics")).text
        assert 'sendense_rest_requests_total{code="200",operation="restore_list"} 1.0' in text
        assert 'sendense_rest_objects{kind="Restore"} 1.0' in text
