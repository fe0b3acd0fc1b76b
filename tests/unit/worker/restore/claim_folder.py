"""A folder that stands for a claim, and what a restore finds in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.chains import uid_of

from sendense_operator.restore_task import RestoreDisk
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.restore.target_folder import TargetFolder
from sendense_operator.worker.restore.target_marker import TargetIdentity
from sendense_operator.worker.restore.target_place import TargetPlace
from sendense_operator.worker.storage.commit import no_step

CHUNK = 4 << 20
SIZE = CHUNK + 512
DISK = RestoreDisk(index=2, virtual_size=SIZE, claim="data")
IDENTITY = TargetIdentity(restore_uid=uid_of(1), point_uid=uid_of(2), disk=2, size=SIZE)
OTHER_POINT = IDENTITY.model_copy(update={"point_uid": uid_of(3)})
OTHER_RESTORE = IDENTITY.model_copy(update={"restore_uid": uid_of(4)})


def folder(claim: Path, identity: TargetIdentity = IDENTITY) -> TargetFolder:
    return TargetFolder(TargetPlace(claim, length=SIZE), DISK, identity, CHUNK)


def begun(claim: Path, identity: TargetIdentity = IDENTITY) -> TargetFolder:
    made = folder(claim, identity)
    made.inspect()
    made.begin(no_step)
    return made


def names(claim: Path) -> list[str]:
    return sorted(path.name for path in claim.iterdir() if path.name != "lost+found")


def refusal(claim: Path, reason: Reason = Reason.TARGET_NOT_EMPTY) -> str:
    """Return the message with which the claim is refused; what this Restore does not own stays."""
    made = folder(claim)
    with pytest.raises(WorkerError) as caught:
        made.inspect()
    assert (caught.value.reason, caught.value.disk_index) == (reason, 2)
    made.discard()
    made.close()
    return caught.value.message
