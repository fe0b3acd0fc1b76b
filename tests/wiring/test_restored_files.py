"""Restores into files of a claim: what the worker receives, and what keeps it from starting."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import sample
from tests.wiring.ending import Ending
from tests.wiring.test_restores import add_claim, create, is_over, jobs, message, phase, protected, ready, restore

from sendense_operator.cluster import kinds
from sendense_operator.restore_task import FileFormat, FileHardware, FileTask, Firmware


def files(claim: str = "target", kind: str = "OVA", **more: Any) -> dict[str, Any]:
    return {"file": {"claimName": claim, "format": kind, **more}}


async def test_an_ova() -> None:
    rig = await protected()
    hardware = {"processors": 3, "firmware": "EFI"}
    create(rig, backup="b2", target=files(folder="a/b", hardware=hardware))
    await is_over(rig)
    assert phase(rig) == "Completed"
    (task,) = rig.world.restores.tasks
    wanted = FileHardware(processors=3, firmware=Firmware.EFI)
    assert task.file == FileTask(format=FileFormat.OVA, folder="a/b", hardware=wanted)
    assert [disk.claim for disk in task.disks] == ["target"]
    (disk,) = restore(rig)["status"]["disks"]
    assert (disk["claimName"], disk["file"], disk["percent"]) == ("target", "a/b/db-b2.ova", 100)


async def test_a_claim_per_disk_receives_no_files() -> None:
    rig = await protected()
    create(rig)
    await is_over(rig)
    (task,) = rig.world.restores.tasks
    assert task.file is None
    assert "file" not in restore(rig)["status"]["disks"][0]


@pytest.mark.parametrize(
    ("claim", "reason", "words"),
    [
        ("store-claim", "ClaimIsRepository", "claim store-claim holds BackupRepository store and can't receive files"),
        ("second-claim", "ClaimIsRepository", "claim second-claim holds BackupRepository second and"),
        ("block", "ClaimUnsupported", "claim block has volume mode Block"),
    ],
)
async def test_claims_that_can_not_receive_files(claim: str, reason: str, words: str) -> None:
    rig = await protected()
    add_claim(rig, "block", volumeMode="Block")
    rig.create(kinds.BACKUP_REPOSITORY, sample.repository("second"))
    create(rig, target=files(claim))
    await is_over(rig)
    assert (phase(rig), ready(rig)[1]) == ("Failed", reason)
    assert words in message(rig)
    assert jobs(rig) == []


async def test_a_claim_of_another_namespace_is_not_there() -> None:
    rig = await protected()
    elsewhere = rig.world.cluster.one(kinds.CLAIM, "target")
    rig.world.cluster.objects["PersistentVolumeClaim", "other", "exports"] = {
        **elsewhere,
        "metadata": {**elsewhere["metadata"], "namespace": "other", "name": "exports"},
    }
    create(rig, target=files("exports"))
    await rig.run(lambda: ready(rig)[1] == "ClaimNotFound")
    assert "no PersistentVolumeClaim exports, which receives files" in message(rig)
    assert jobs(rig) == []


async def test_a_claim_that_is_smaller_than_the_disk() -> None:
    """Whether the files fit is known once their content is."""
    rig = await protected()
    add_claim(rig, "small", size="1Mi")
    create(rig, target=files("small", "VMDK"))
    await is_over(rig)
    assert phase(rig) == "Completed"


async def test_one_claim_receives_the_files_of_one_restore_after_the_other() -> None:
    rig = await protected()
    create(rig, "r1", target=files(folder="a"))
    create(rig, "r2", target=files(folder="b"))
    await rig.run(lambda: {ready(rig, "r1")[1], ready(rig, "r2")[1]} >= {"ClaimInUse", "Restoring"})
    waiting = "r1" if ready(rig, "r1")[1] == "ClaimInUse" else "r2"
    assert message(rig, waiting).endswith("a claim can only receive files while nothing else uses it")
    await is_over(rig, "r1", "r2")
    assert (phase(rig, "r1"), phase(rig, "r2")) == ("Completed", "Completed")


@pytest.mark.parametrize("ending", [None, Ending.FATAL])
async def test_a_claim_that_it_makes(ending: Ending | None) -> None:
    """It stays once the Restore is Completed, and goes with one that failed."""
    rig = await protected()
    if ending is not None:
        rig.world.restores.endings["r1"] = [ending]
    create(rig, target=files("made", "QCOW2", create={"storageClassName": "fast"}))
    await is_over(rig)
    claim = rig.world.cluster.one(kinds.CLAIM, "made")
    assert claim["spec"]["storageClassName"] == "fast"
    owned = [owner["kind"] for owner in claim["metadata"].get("ownerReferences") or []]
    assert (phase(rig), owned) == (("Completed", []) if ending is None else ("Failed", ["Restore"]))
