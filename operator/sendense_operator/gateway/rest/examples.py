"""The examples of the OpenAPI description. A test makes the objects that they speak of, and runs each."""

from __future__ import annotations

from typing import Any, Final

_FULL: Final[dict[str, Any]] = {
    "backup_id": "db01-20261123-164928-x7k2p",
    "vm_context_id": "db01",
    "vm_name": "DB 01",
    "disk_id": 0,
    "backup_type": "full",
    "type": "full",
    "repository_id": "main",
    "policy_id": "daily",
    "status": "completed",
    "file_path": "backups/db01/disk-0/full-20261123-164928.qcow2",
    "bytes_transferred": 1395864371,
    "total_bytes": 4294967296,
    "change_id": "52 3e 1f 9a/118",
    "error_message": None,
    "created_at": "2026-11-23T16:49:28Z",
    "started_at": "2026-11-23T16:49:31Z",
    "completed_at": "2026-11-23T16:49:55Z",
    "tags": {"team": "shop"},
}
_NEW: Final[dict[str, Any]] = {
    **_FULL,
    "backup_id": "db01-20261124-013000-q4m9z",
    "backup_type": "incremental",
    "type": "incremental",
    "status": "pending",
    "file_path": None,
    "bytes_transferred": 0,
    "total_bytes": 0,
    "change_id": None,
    "created_at": "2026-11-24T01:30:00Z",
    "started_at": None,
    "completed_at": None,
}

REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "start": {
        "vm_name": "DB 01",
        "backup_type": "incremental",
        "repository_id": "main",
        "policy_id": "daily",
        "tags": {"team": "shop"},
    }
}
PARAMETERS: Final[dict[str, str]] = {
    "backup_id": _FULL["backup_id"],
    "namespace": "backups",
    "vm_context_id": "db01",
}
ANSWERS: Final[dict[str, dict[str, Any]]] = {
    "start": _NEW,
    "list": {"backups": [_FULL], "total": 1},
    "get": _FULL,
    "chain": {
        "chain_id": "db01-main-4e8212b9",
        "vm_context_id": "db01",
        "vm_name": "DB 01",
        "disk_id": 0,
        "repository_id": "main",
        "full_backup_id": _FULL["backup_id"],
        "total_size_bytes": 1395654656,
        "backup_count": 1,
        "backups": [_FULL],
    },
    "delete": {
        "backup_id": _FULL["backup_id"],
        "status": "deleting",
        "message": "its files are removed from the repository",
        "freed_bytes": 1395654656,
        "files": ["backups/db01/disk-0/full-20261123-164928.qcow2"],
        "needed_by": [],
    },
    "vms": {
        "vms": [
            {
                "vm_context_id": "db01",
                "vm_name": "DB 01",
                "vm_path": "/DC1/vm/shop/DB 01",
                "appliance_id": "vma",
                "power_state": "poweredOn",
                "cbt_enabled": True,
                "total_bytes": 4294967296,
                "disks": [{"disk_id": 0, "label": "Hard disk 1", "capacity_bytes": 4294967296}],
                "ready": True,
                "message": None,
                "protected": True,
                "last_backup_at": "2026-11-23T16:49:55Z",
                "protection": [
                    {
                        "repository_id": "main",
                        "chain_id": "db01-main-4e8212b9",
                        "restore_points": 1,
                        "last_backup_id": _FULL["backup_id"],
                        "last_backup_at": "2026-11-23T16:49:55Z",
                        "stored_bytes": 1395654656,
                    }
                ],
            }
        ],
        "total": 1,
    },
}
