import json
from datetime import UTC, datetime
from typing import Any

import pytest

from sendense_operator.chain.manifest import (
    MAX_TOOLS,
    Digest,
    Manifest,
    ManifestBackup,
    ManifestDisk,
    ManifestError,
    ManifestVM,
    NewerManifestError,
)
from sendense_operator.task import MAX_DISKS, BackupType
from sendense_operator.vm_hardware import Hardware, NetworkCard

UID = "0b7ec3de-5ced-462b-9912-f63f580d6489"
AT = datetime(2025, 10, 5, 12, 0, 0, tzinfo=UTC)
HOSTILE = '../x\n",json:{}-disk1-\u202eä'


def manifest(**changes: Any) -> Manifest:
    file = "shop/db/disk-0/full-20251005-120000.qcow2"
    disk = ManifestDisk(
        index=0,
        key=2000,
        type=BackupType.FULL,
        file=file,
        virtual_size=1 << 20,
        stored_bytes=4096,
        guest_bytes=512,
        coverage=1 << 20,
        received_bytes=1 << 20,
        change_id="52 de/1",
        digest=Digest(root="0" * 64, list=f"{file}.digests"),
    )
    fields: dict[str, Any] = {
        "backup": ManifestBackup(name="nightly", uid=UID, namespace="shop"),
        "vm": ManifestVM(name="db", vmware_name=HOSTILE, vmware_path=f"/DC/vm/{HOSTILE}"),
        "repository_id": "r",
        "job_id": f"backup-{UID}",
        "attempt": UID,
        "started": AT,
        "finished": AT,
        "tools": {"qemu": "7.2"},
        "disks": (disk,),
    }
    return Manifest(**(fields | changes))


def test_reads_back_and_is_canonical() -> None:
    one = manifest()
    data = one.to_json()
    assert Manifest.from_json(data) == one
    assert Manifest.from_json(data).to_json() == data
    assert data.isascii()
    assert json.loads(data)["disks"][0]["parent"] is None
    assert json.loads(data)["vm"]["vmwareName"] == HOSTILE


def test_what_became_of_an_increment_is_optional() -> None:
    """Manifests of earlier versions say nothing about it, those of later ones may say what this one does not know."""
    raw = unsealed()
    assert not {"changed", "compaction"} & raw["disks"][0].keys()
    (old,) = Manifest.from_json(json.dumps(raw).encode()).disks
    assert (old.changed_bytes, old.compaction) == (None, "")
    raw["disks"][0] |= {"changed": 4096, "compaction": "Merged"}
    (new,) = Manifest.from_json(json.dumps(raw).encode()).disks
    assert (new.to_answer().changed_bytes, new.to_answer().compaction) == (4096, "Merged")


def test_hardware_is_optional_and_kept() -> None:
    assert "hardware" not in unsealed()["vm"]
    hardware = Hardware(processors=2, memory_bytes=1 << 30, network_cards=(NetworkCard(network=HOSTILE),))
    vm = ManifestVM(name="db", vmware_name="db", vmware_path="/DC/vm/db", hardware=hardware)
    assert Manifest.from_json(manifest(vm=vm).to_json()).vm.hardware == hardware


def test_names_all_its_files() -> None:
    assert manifest().files() == (
        "shop/db/disk-0/full-20251005-120000.qcow2",
        "shop/db/disk-0/full-20251005-120000.qcow2.digests",
    )


def changed(**fields: Any) -> bytes:
    return json.dumps(unsealed() | fields).encode()


def unsealed() -> dict[str, Any]:
    """Without a checksum, as the first version wrote them."""
    raw: dict[str, Any] = json.loads(manifest().to_json())
    del raw["checksum"]
    return raw


def test_a_newer_format_is_told_apart() -> None:
    with pytest.raises(NewerManifestError, match="version 2"):
        Manifest.from_json(changed(version=2, disks="something else"))


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", changed(format="x"), changed(disks=[]), changed(version="1"), changed(backup=None)],
)
def test_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_json(data)


@pytest.mark.parametrize("file", ["../../etc/passwd", "/etc/passwd", "shop/db/x", "json:{}"])
def test_a_path_outside_is_refused(file: str) -> None:
    raw = unsealed()
    raw["disks"][0]["file"] = file
    with pytest.raises(ManifestError):
        Manifest.from_json(json.dumps(raw).encode())


def increment(**parent: Any) -> dict[str, Any]:
    file = "shop/db/disk-0/full-20251005-110000.qcow2"
    whole = {"backup": "earlier", "backupUid": UID, "file": file, "changeId": "52 de/0"}
    raw = unsealed()
    raw["disks"][0] |= {"type": "Incremental", "parent": whole | parent}
    return raw


@pytest.mark.parametrize(
    "parent",
    [{"backup": ""}, {"backup": "../x"}, {"backup": "x" * 64}, {"backupUid": ""}, {"backupUid": "*"}, {"file": "/x"}],
)
def test_a_parent_that_is_no_backup_is_refused(parent: dict[str, Any]) -> None:
    assert Manifest.from_json(json.dumps(increment()).encode()).disks[0].parent is not None
    with pytest.raises(ManifestError):
        Manifest.from_json(json.dumps(increment(**parent)).encode())


def test_only_manifests_of_the_first_version_have_no_checksum() -> None:
    """They had no sequence either. In others a damaged name of the field would switch the check off."""
    assert Manifest.from_json(changed()) == manifest()
    raw = json.loads(manifest(sequence=3).to_json().replace(b'"checksum"', b'"chacksum"'))
    with pytest.raises(ManifestError, match="no checksum"):
        Manifest.from_json(json.dumps(raw).encode())


def test_new_fields_are_tolerated() -> None:
    assert Manifest.from_json(changed(later="x")) == manifest()


def test_a_flipped_digit_is_noticed() -> None:
    text = manifest().to_json()
    changed = text.replace(b'"changeId": "', b'"changeId": "7', 1)
    assert changed != text
    with pytest.raises(ManifestError, match="checksum"):
        Manifest.from_json(changed)


@pytest.mark.parametrize(
    "fields",
    [
        {"disks": manifest().disks * (MAX_DISKS + 1)},
        {"tools": {f"tool-{number}": "1" for number in range(MAX_TOOLS + 1)}},
    ],
)
def test_lists_are_bounded(fields: dict[str, Any]) -> None:
    made = manifest().model_copy(update=fields)
    with pytest.raises(ManifestError, match="at most 64"):
        Manifest.from_json(made.to_json())
