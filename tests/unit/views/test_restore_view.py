from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.rest.rig import FULL, backup, restore, vm

from sendense_operator.gateway.rest import restore_schemas
from sendense_operator.gateway.rest.object_cache import Stores
from sendense_operator.views.cached_objects import CachedRestore, CachedVM
from sendense_operator.views.restore_view import restore_json


def test_while_running() -> None:
    progress = {
        "percent": 35, "processedBytes": 350, "totalBytes": 1000, "rateBytesPerSecond": 7, "etaSeconds": 92,
        "lastUpdateTime": "2026-11-24T09:15:20Z",
    }  # fmt: skip
    disks = [
        {"index": 2, "virtualSize": 500, "claimName": "b"},
        {"index": 0, "virtualSize": 500, "claimName": "a", "processedBytes": 350, "percent": 70},
    ]
    shown = restore_json(restore(phase="Running", stage="Restoring", progress=progress, disks=disks))
    assert (shown["status"], shown["current_phase"], shown["progress_percent"]) == ("running", "restoring", 35)
    assert (shown["transfer_speed_bps"], shown["eta_seconds"]) == (7, 92)
    assert (shown["bytes_processed"], shown["total_bytes"], shown["error_message"]) == (350, 1000, None)
    reported = [(one["disk_id"], one["status"], one["progress_percent"]) for one in shown["disk_results"]]
    assert reported == [(0, "running", 70), (2, "pending", 0)]
    assert shown["disk_results"][0]["data_bytes"] is None
    restore_schemas.Restore.model_validate(shown)


@pytest.mark.parametrize(("phase", "reason"), [("Failed", "ClaimTooSmall"), ("Cancelled", "Cancelled")])
def test_what_did_not_succeed(phase: str, reason: str) -> None:
    ready = {"type": "Ready", "status": "False", "reason": reason, "message": "so"}
    shown = restore_json(restore(phase=phase, conditions=[ready]))
    assert (shown["status"], shown["error_message"]) == ("failed", f"{reason}: so")
    assert "eta_seconds" not in shown


def test_damaged_places() -> None:
    disk = {"index": 0, "virtualSize": 9, "damagedBytes": 3, "damaged": [{"offset": 4, "length": 3}]}
    shown = restore_json(restore(disks=[disk]))
    assert shown["damaged_bytes"] == 3
    assert shown["disk_results"][0]["damaged"] == [{"offset": 4, "length": 3}]


def test_while_it_is_deleted_it_keeps_its_state() -> None:
    for begun, state in (("2026-11-24T09:15:02Z", "running"), (None, "pending")):
        shown = restore_json(restore(phase="Deleting", startTime=begun, completionTime=None))
        assert (shown["status"], shown["current_phase"]) == (state, "deleting")


def test_what_other_objects_say_of_its_source() -> None:
    stores = Stores()
    waiting = restore()
    del waiting["status"]
    assert (stores.read_restore(waiting).vm, stores.read_restore(waiting).backup) == ("", FULL)
    stores.backups.put(stores.read_backup(backup()))
    record = stores.read_restore(waiting)
    assert (record.vm, record.vm_name, record.repository) == ("db01", "DB 01", "main")
    stores.vms.put(CachedVM.from_object(vm(vm_name="DB 01 renamed")))
    assert stores.read_restore(waiting).vm_name == "DB 01 renamed"


def test_the_newest_of_a_vm() -> None:
    spec = {"source": {"vmRef": {"name": "db01"}, "repositoryRef": {"name": "main"}, "at": "Latest", "disks": [1]}}
    shown = restore_json({**restore(), "spec": {**spec, "verifyOnly": True}, "status": {}})
    assert (shown["backup_id"], shown["vm_context_id"], shown["repository_id"]) == (None, "db01", "main")
    assert (shown["at"], shown["disks"], shown["targets"], shown["verify_only"]) == ("latest", [1], [], True)


_KEYS = st.sampled_from(
    ["phase", "disks", "progress", "conditions", "source", "backupRef", "vmRef", "name", "at", "index", "damaged",
     "target", "persistentVolumeClaims", "disk", "claimName", "restorePoint", "vmName", "time", "percent", "etaSeconds",
     "stage", "startTime"]
)  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["Running", "Latest"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=15,
)


@given(spec=_JSON, status=_JSON)
def test_no_restore_is_too_strange(spec: Any, status: Any) -> None:
    obj = {"metadata": {"namespace": "n", "name": "x", "uid": "u"}, "spec": spec, "status": status}
    restore_schemas.Restore.model_validate_json(CachedRestore.from_object(obj).body)
