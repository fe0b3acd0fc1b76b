from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.rest.rig import backup

from sendense_operator.gateway.rest import schemas
from sendense_operator.views import backup_view
from sendense_operator.views.cached_objects import CachedBackup, CachedChain, CachedVM

UID = "0b6f6b0e-6c2b-4b1c-9a53-0f7d2a1c9e11"


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        (None, "pending"),
        ("Pending", "pending"),
        ("Running", "running"),
        ("Completed", "completed"),
        ("Failed", "failed"),
        ("Cancelled", "failed"),
        ("Lost", "failed"),
    ],
)
def test_state(phase: str | None, state: str) -> None:
    assert backup_view.state_of({"status": {"phase": phase}}) == state


def test_while_running() -> None:
    progress = {"percent": 35, "rateBytesPerSecond": 7, "lastUpdateTime": "2026-11-23T16:49:40Z"}
    shown = backup_view.backup_json(backup(phase="Running", stage="Copying", progress=progress))
    assert (shown["current_phase"], shown["progress_percent"], shown["transfer_speed_bps"]) == ("copying", 35, 7)
    assert shown["last_telemetry_at"] == "2026-11-23T16:49:40Z"
    assert not {"current_phase", "progress_percent"} & set(backup_view.backup_json(backup()))


def test_several_disks_and_a_failure() -> None:
    disks = [{"id": 1, "file": "b"}, {"id": 0, "file": "a", "changeID": "c"}]
    ready = {"type": "Ready", "status": "False", "reason": "Stalled", "message": "no data"}
    shown = backup_view.backup_json(backup(phase="Failed", disks=disks, jobID=f"backup-{UID}", conditions=[ready]))
    assert (shown["disk_id"], shown["file_path"], shown["change_id"], shown["disks_count"]) == (0, "a", "c", 2)
    assert shown["disk_results"][1] == {
        "disk_id": 1,
        "nbd_port": 10810,
        "nbd_export_name": f"{UID}-disk1",
        "qcow2_path": "b",
        "status": "failed",
        "error_message": "Stalled: no data",
    }
    schemas.Backup.model_validate(shown)


@pytest.mark.parametrize(
    ("given_", "shown"),
    [("2026-11-23T16:49:28Z", "2026-11-23T16:49:28Z"), ("2026-11-23T17:49:28+01:00", "2026-11-23T16:49:28Z")]
    + [(value, None) for value in (None, "", "soon", 5)],
)
def test_moment(given_: Any, shown: str | None) -> None:
    assert backup_view.moment(given_) == shown


_KEYS = st.sampled_from(
    ["phase", "disks", "progress", "conditions", "vmRef", "name", "id", "type", "stage", "jobID", "labels", "status",
     "restorePoints", "removed", "startTime", "message", "percent"]
)  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["Running", "Failed"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=15,
)


@given(spec=_JSON, status=_JSON)
def test_no_object_is_too_strange(spec: Any, status: Any) -> None:
    obj = {"metadata": {"namespace": "n", "name": "x", "uid": "u"}, "spec": spec, "status": status}
    schemas.Backup.model_validate_json(CachedBackup.from_object(obj).body)
    CachedChain.from_object(obj)
    CachedVM.from_object(obj)
