"""Tasks of workers."""

from __future__ import annotations

import pytest

from sendense_operator.task import ApplianceTask, BackupTask, BackupType, Exposure, TaskDisk

APPLIANCE = ApplianceTask(url="http://vma:8081", vcenter_host="vcenter", vm_path="/DC1/vm/a,b", datacenter="DC1")


def test_a_task_comes_back_as_it_went() -> None:
    task = BackupTask(
        namespace="ns",
        backup="b",
        backup_uid="u",
        vm="vm",
        repository_id="r",
        type=BackupType.FULL,
        appliance=APPLIANCE,
        exposure=Exposure.NODE_PORT,
        disks=(TaskDisk(index=0, key=2000, virtual_size=1 << 30, port=30000),),
    )
    assert BackupTask.model_validate_json(task.model_dump_json(by_alias=True)) == task
    assert "password" not in task.model_dump_json(by_alias=True)


@pytest.mark.parametrize("number", [0, 65])
def test_a_task_has_1_to_64_disks(number: int) -> None:
    with pytest.raises(ValueError, match="disks"):
        BackupTask(
            namespace="ns", backup="b", backup_uid="u", vm="vm", repository_id="r", type=BackupType.FULL,
            appliance=APPLIANCE, exposure=Exposure.POD_IP,
            disks=tuple(TaskDisk(index=i, key=i, virtual_size=1, port=1 + i) for i in range(number)),
        )  # fmt: skip
