"""A Backup's status after a merge: its layers follow the manifest, what was copied stays."""

from __future__ import annotations

from typing import Any

from tests.support.sample import NOON

from sendense_operator.answer import Answer, DiskAnswer
from sendense_operator.api.v1alpha1.backup import BackupDisk, BackupStatus, Phase
from sendense_operator.api.v1alpha1.known_hardware import KnownHardware, KnownNetworkCard
from sendense_operator.catalogue_format import PointRecord
from sendense_operator.reconcile.backups.layer_refresh import with_layers_of
from sendense_operator.reconcile.backups.progress import final_disks
from sendense_operator.reconcile.catalogue.layer_marks import mark_of_point, mark_of_status
from sendense_operator.task import BackupType
from sendense_operator.vm_hardware import Hardware, NetworkCard

HARDWARE = Hardware(processors=2, network_cards=(NetworkCard(network="LAN"),))


def reported(index: int = 0, **changes: Any) -> DiskAnswer:
    plain: dict[str, Any] = {
        "index": index,
        "key": 2000 + index,
        "type": BackupType.INCREMENTAL,
        "file": f"shop/db/disk-{index}/incr.qcow2",
        "virtual_size": 1 << 30,
        "stored_bytes": 100,
        "guest_bytes": 50,
        "received_bytes": 200,
        "change_id": "52 00/3",
        "parent": "b2",
        "parent_change_id": "52 00/2",
        "depth": 3,
        "changed_bytes": 40,
        "compaction": "Compacted",
    }
    return DiskAnswer(**{**plain, **changes})


def record(*disks: DiskAnswer) -> PointRecord:
    return PointRecord(
        vm="db", backup="b3", backup_uid="u", manifest="m", started=NOON, finished=NOON, job_id="j", disks=disks
    )


def status(*disks: DiskAnswer) -> BackupStatus:
    made = final_disks(Answer(outcome="Completed", disks=disks))
    return BackupStatus(
        phase=Phase.COMPLETED, type=BackupType.INCREMENTAL, disks=made, stored_bytes=100, guest_bytes=50
    )


FULL: dict[str, Any] = {
    "type": BackupType.FULL,
    "parent": "",
    "parent_change_id": "",
    "depth": 1,
    "stored_bytes": 900,
    "guest_bytes": 800,
    "changed_bytes": None,
    "compaction": "",
}


def test_a_layer_that_became_a_full() -> None:
    after = with_layers_of(status(reported()), record(reported(**FULL, change_id="other", received_bytes=1)))
    (disk,) = after.disks
    assert (disk.type, disk.parent, disk.parent_change_id, disk.depth) == (BackupType.FULL, None, None, 1)
    assert (disk.stored_bytes, disk.guest_bytes, disk.changed_bytes, disk.compaction) == (900, 800, None, None)
    assert (disk.change_id, disk.received_bytes, disk.percent) == ("52 00/3", 200, 100), "what was copied"
    assert (after.stored_bytes, after.stored, after.guest_bytes) == (900, "900 B", 800)
    assert after.type is BackupType.INCREMENTAL, "what ran"


def test_nothing_changes_without_a_difference() -> None:
    before = status(reported(), reported(1))
    assert with_layers_of(before, record(reported(), reported(1))) == before


def test_each_disk_by_its_device_key() -> None:
    before = status(reported(), reported(1))
    after = with_layers_of(before, record(reported(1, depth=2)))
    assert [disk.depth for disk in after.disks] == [3, 2]


def test_marks_are_equal_exactly_for_the_same_layers() -> None:
    disks = (reported(1), reported())
    rows = [disk.to_dict() for disk in status(reported(), reported(1)).disks]
    assert mark_of_status(rows) == mark_of_point(disks)
    for changes in ({name: value} for name, value in FULL.items() if name != "parent_change_id"):
        assert mark_of_point((reported(**changes), reported(1))) != mark_of_point(disks), changes
    assert mark_of_status(()) == mark_of_point(()) == 0
    assert mark_of_status([BackupDisk(index=0, key=1, virtual_size=1).to_dict()]) != 0


def test_hardware_that_was_missing_is_filled_in() -> None:
    before = status(reported())
    found = record(reported()).model_copy(update={"hardware": HARDWARE})
    after = with_layers_of(before, found)
    assert after.hardware == KnownHardware(processors=2, network_cards=[KnownNetworkCard(network="LAN")])
    assert with_layers_of(after, found) == after
    other = record(reported()).model_copy(update={"hardware": Hardware(processors=4)})
    assert with_layers_of(after, other) == after, "it never changes"
