"""Claims that a Restore makes are large enough for their disks, and no larger than needed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import sample

from sendense_operator.reconcile.restores.new_claims import build_claim, claim_size, decide_new_claim, new_claims
from sendense_operator.reconcile.restores.restore_status import ObservedRestore
from sendense_operator.reconcile.state.kubernetes_objects import owner_ref

MIB = 1 << 20
GIB = 1 << 30


@pytest.mark.parametrize("size", [MIB, 64 * MIB, 511 * MIB, 512 * MIB, 3 * GIB, 10 * GIB, 100 * GIB, 1024 * GIB])
def test_ext4_has_room_for_the_disk(tmp_path: Path, size: int) -> None:
    """As mke2fs makes it, without what it reserves for root."""
    volume = tmp_path / "volume"
    with volume.open("wb") as file:
        file.truncate(claim_size(size))
    subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", volume], check=True, timeout=60)
    shown = subprocess.run(["/sbin/dumpe2fs", "-h", volume], check=True, capture_output=True, text=True, timeout=60)
    facts = dict(line.split(":", 1) for line in shown.stdout.splitlines() if ":" in line)
    blocks = int(facts["Free blocks"]) - int(facts["Reserved block count"])
    assert blocks * int(facts["Block size"]) >= size


@given(st.integers(1, 1 << 46))
def test_little_is_wasted(size: int) -> None:
    assert size < claim_size(size) <= size * 1.075 + 1280 * MIB
    assert claim_size(size) % MIB == 0
    assert claim_size(size) <= claim_size(size + MIB) or size + MIB >= 512 * MIB > size


def observed(**create: Any) -> ObservedRestore:
    target = {"persistentVolumeClaims": [{"disk": 0, "claimName": "made", "create": create}]}
    point = {"backupName": "b1", "uid": "u", "vmName": "db", "repositoryName": "store", "time": sample.stamp()}
    status = {"restorePoint": point, "disks": [{"index": 0, "virtualSize": GIB}]}
    return ObservedRestore.of(sample.restore(status=status, target=target))


@pytest.mark.parametrize(("create", "size"), [({}, claim_size(GIB)), ({"sizeBytes": 5 * GIB}, 5 * GIB)])
def test_the_claim(create: dict[str, Any], size: int) -> None:
    restore = observed(**create)
    ((name, (new, content)),) = new_claims(restore).items()
    claim = build_claim(restore, name, new, content)
    assert claim["metadata"]["ownerReferences"] == [owner_ref(restore.obj)]
    assert claim["metadata"]["labels"]["backup.sendense.io/vm"] == "db"
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": str(size)}},
    }


@pytest.mark.parametrize("kind", ["Raw", "QCOW2", "VMDK", "OVA"])
def test_the_claim_for_files_has_room_for_all(kind: str) -> None:
    target = {"file": {"claimName": "made", "create": {}, "format": kind}}
    disks = [{"index": 0, "virtualSize": GIB}, {"index": 1, "virtualSize": 3 * GIB}]
    restore = ObservedRestore.of(sample.restore(status={"disks": disks}, target=target))
    ((name, (_, content)),) = new_claims(restore).items()
    assert name == "made"
    assert 4 * GIB <= content <= 4 * GIB * 1.02
    without = {"file": {"claimName": "made", "format": kind}}
    assert new_claims(ObservedRestore.of(sample.restore(status={"disks": disks}, target=without))) == {}


def test_one_that_is_there_must_be_its_own() -> None:
    restore = observed()
    claim = sample.claim("made")
    assert decide_new_claim("made", None, restore) is None
    own = {**claim, "metadata": {**claim["metadata"], "ownerReferences": [owner_ref(restore.obj)]}}
    assert decide_new_claim("made", own, restore) is None
    found = decide_new_claim("made", claim, restore)
    assert found is not None
    assert found.reason == "ClaimExists"
