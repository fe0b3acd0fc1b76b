"""What the next backup would be, and why."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.sample import GIB, stamp

from sendense_operator.api.v1alpha1.backup import BackupStatus
from sendense_operator.api.v1alpha1.protectedvm import VMDisk
from sendense_operator.reconcile.chains.next_backup import decide_next

DAMAGED = {"type": "Damaged", "status": "True", "reason": "Unreadable", "lastTransitionTime": stamp()}


def newest(*depths: int, **fields: Any) -> BackupStatus:
    disks = [{"id": i, "key": 2000 + i, "virtualSize": GIB, "depth": d} for i, d in enumerate(depths or (1,))]
    return BackupStatus.model_validate({"disks": disks, **fields})


def disk(index: int = 0, key: int = 2000, virtual_size: int = GIB) -> VMDisk:
    return VMDisk(index=index, key=key, virtual_size=virtual_size)


@pytest.mark.parametrize(
    ("status", "disks", "full_next", "expected"),
    [
        (None, [disk()], "", ("Full", "NoParent")),
        (newest(), [disk()], "", ("Incremental", "")),
        (newest(), [], "", ("Incremental", "")),
        (newest(1, 1), [disk(key=2001)], "", ("Incremental", "")),
        (newest(conditions=[DAMAGED]), [disk()], "", ("Full", "ParentUnverified")),
        (newest(conditions=[{**DAMAGED, "status": "False"}]), [disk()], "", ("Incremental", "")),
        (newest(), [disk()], "ChangeIDRefused", ("Full", "ChangeIDRefused")),
        (newest(), [disk()], "SomethingNewer", ("Full", "SomethingNewer")),
        (newest(), [disk(), disk(1, 2001)], "", ("Full", "NewDisk")),
        (newest(), [disk(key=2005)], "", ("Full", "NewDisk")),
        (newest(), [disk(virtual_size=2 * GIB)], "", ("Full", "DiskResized")),
        (newest(), [disk(virtual_size=0)], "", ("Incremental", "")),  # not known yet
        (newest(3), [disk()], "", ("Incremental", "")),
        (newest(1, 4), [disk(), disk(1, 2001)], "", ("Full", "ChainTooLong")),
        (newest(5), [], "", ("Full", "ChainTooLong")),
    ],
)
def test_next(status: BackupStatus | None, disks: list[VMDisk], full_next: str, expected: tuple[str, str]) -> None:
    found = decide_next(status, disks, max_depth=4, full_next=full_next)
    assert (found.type, found.reason) == expected
    assert bool(found.message) is (found.reason not in ("", "SomethingNewer"))
