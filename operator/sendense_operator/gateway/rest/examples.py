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
_CONSOLIDATION: Final[dict[str, Any]] = {
    "mode": "Auto",
    "requested": False,
    "progress": None,
    "last_consolidation_at": "2026-11-23T17:10:02Z",
    "merges": 1,
    "freed_bytes": 33554432,
    "left": None,
    "message": None,
}
_RESTORED: Final[dict[str, Any]] = {
    "restore_id": "restore-db01-20261124-091500-m3v8c",
    "backup_id": _FULL["backup_id"],
    "vm_context_id": "db01",
    "vm_name": "DB 01",
    "repository_id": "main",
    "at": None,
    "restore_point_at": "2026-11-23T16:49:55Z",
    "disks": [],
    "targets": [{"disk_id": 0, "claim_name": "db01-disk-0", "create": False}],
    "virtual_machine": None,
    "file": None,
    "verify_only": False,
    "allow_damaged": False,
    "status": "completed",
    "bytes_processed": 4294967296,
    "total_bytes": 4294967296,
    "damaged_bytes": 0,
    "message": "Restored: 1 disk of restore point db01-20261123-164928-x7k2p: 4.0 GiB with 1.3 GiB of data restored, "
    "read back and compared",
    "error_message": None,
    "created_at": "2026-11-24T09:15:00Z",
    "started_at": "2026-11-24T09:15:02Z",
    "completed_at": "2026-11-24T09:15:31Z",
    "disk_results": [
        {
            "disk_id": 0,
            "claim_name": "db01-disk-0",
            "file": None,
            "status": "completed",
            "total_bytes": 4294967296,
            "bytes_processed": 4294967296,
            "progress_percent": 100,
            "data_bytes": 1395654656,
            "bytes_written": 1395654656,
            "damaged_bytes": 0,
            "damaged": [],
        }
    ],
}
_NEW_RESTORE: Final[dict[str, Any]] = {
    **_RESTORED,
    "restore_id": "restore-db01-20261124-013000-h2n6t",
    "restore_point_at": None,
    "status": "pending",
    "bytes_processed": 0,
    "total_bytes": 0,
    "message": None,
    "created_at": "2026-11-24T01:30:00Z",
    "started_at": None,
    "completed_at": None,
    "disk_results": [],
}

REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "start": {
        "vm_name": "DB 01",
        "backup_type": "incremental",
        "repository_id": "main",
        "policy_id": "daily",
        "tags": {"team": "shop"},
    },
    "consolidate": {"vm_name": "DB 01", "repository_id": "main"},
    "restore_start": {
        "backup_id": _FULL["backup_id"],
        "targets": [{"disk_id": 0, "claim_name": "db01-disk-0"}],
    },
}
PARAMETERS: Final[dict[str, str]] = {
    "backup_id": _FULL["backup_id"],
    "restore_id": _RESTORED["restore_id"],
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
        "consolidation": _CONSOLIDATION,
        "backups": [_FULL],
    },
    "consolidate": {
        "chain_id": "db01-main-4e8212b9",
        "vm_context_id": "db01",
        "repository_id": "main",
        "request": "2026-11-24T01:30:00.000000+00:00",
        "consolidation": _CONSOLIDATION,
    },
    "delete": {
        "backup_id": _FULL["backup_id"],
        "status": "deleting",
        "message": "its files are removed from the repository",
        "freed_bytes": 1395654656,
        "files": ["backups/db01/disk-0/full-20261123-164928.qcow2"],
        "needed_by": [],
    },
    "restore_start": _NEW_RESTORE,
    "restore_list": {"restores": [_RESTORED], "total": 1},
    "restore_get": _RESTORED,
    "restore_delete": {
        "restore_id": _RESTORED["restore_id"],
        "status": "deleting",
        "message": "what it wrote to claims stays",
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
