"""A task and settings that fit together."""

from pathlib import Path
from typing import Any

from sendense_operator.task import ApplianceTask, BackupTask, BackupType, Exposure, TaskDisk
from sendense_operator.worker.settings import Settings

UID = "0b7ec3de-5ced-462b-9912-f63f580d6489"
VM_PATH = "/DC1/vm/pgtest1"


def settings(**changes: Any) -> Settings:
    fields: dict[str, Any] = {"pod_uid": UID, "pod_ip": "127.0.0.1", "node_ip": "127.0.0.1", "repository": Path("/x")}
    return Settings(**(fields | changes))


def task(**changes: Any) -> BackupTask:
    fields: dict[str, Any] = {
        "namespace": "shop",
        "backup": "nightly",
        "backup_uid": UID,
        "vm": "db",
        "repository_id": "r",
        "type": BackupType.FULL,
        "exposure": Exposure.POD_IP,
        "appliance": ApplianceTask(url="http://vma.example:8081", vcenter_host="vc", vm_path=VM_PATH, datacenter="DC1"),
        "disks": tuple(
            TaskDisk(index=index, key=2000 + index, virtual_size=1 << 20, port=10809 + index) for index in range(2)
        ),
    }
    return BackupTask(**(fields | changes))
