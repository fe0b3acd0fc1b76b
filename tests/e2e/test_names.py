"""Hostile VMware names are backed up fine, and never become a path, an option or a job id."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.support import images
from tests.support.vma import MIB, Disk
from tests.support.workspace import Workspace

NAMES = {
    "upwards": "../../../etc",
    "quotes": 'it\'s "quoted" `x` $(id)',
    "commas": "x,data_file=y,file.filename=z",
    "json": 'json:{"driver":"nbd","host":"evil"}',
    "newlines": "two\nlines\r\tand tabs",
    "disk": "web-disk1-backup",
    "long": "ü" * 127 + "x",
    "percent": "pg%2ftest %252F & ? # +",
    "option": "--help",
    "colon": "nbd:host:1",
}


def test_hostile_names(space: Workspace) -> None:
    """VMs with such names side by side, in one repository."""
    space.add_secret()
    space.add_appliance(maxConcurrentBackups=len(NAMES))
    space.add_repository(maxConcurrentBackups=len(NAMES))
    for name, vmware in NAMES.items():
        last = vmware.replace("/", "%2f")  # as vCenter writes a slash in a name
        disks = (Disk("pattern", 4 * MIB), Disk("random", 2 * MIB))
        space.add_vm(name, *disks, vmware=vmware, path=f"/DC1/vm/folder/{last}")
        space.backup(name, vm=name)
    for name, vmware in NAMES.items():
        status = space.wait_phase("Completed", name)
        assert status["vmName"] == vmware
        assert re.fullmatch(r"backup-[0-9a-f-]{36}", status["jobID"])
    images.assert_points(space, space.disks)
    folder = space.folders["repo"]
    assert all(re.fullmatch(r"[a-z0-9./_-]+", file) for file in folder.files() if file != "lost+found")
    assert {file.split("/")[0] for file in folder.layers()} == {space.namespace}
    manifests = {manifest["backup"]["name"]: manifest for manifest in folder.manifests()}
    pods = [
        text
        for pod in space.kube.select("Pod", space.namespace)
        for text in texts([pod["metadata"]["name"], pod["metadata"]["labels"], pod["spec"]])
    ]
    targets = [start["body"]["nbd_targets"] for start in space.vma.starts()]
    assert len(manifests) == len(targets) == len(NAMES)
    assert all(space.workers(name) for name in NAMES), "whose pods are read below"
    for name, vmware in NAMES.items():
        assert contains(json.dumps(manifests[name], ensure_ascii=False), vmware)
        assert [text for text in pods if contains(text, vmware)] == [], "the task alone has it"
        assert [text for text in targets if contains(text, vmware)] == []


def texts(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, keys too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    else:
        yield str(value)


def contains(text: str, name: str) -> bool:
    """As it is, or as JSON inside of the text has it."""
    return any(
        spelling in text for spelling in (name, json.dumps(name)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1])
    )


def test_names_are_found_in_every_spelling() -> None:
    """Else the test above would prove nothing."""
    for name in NAMES.values():
        for text in (name, f"x{name}y", json.dumps({"vm": name}), json.dumps([name], ensure_ascii=False)):
            assert [found for found in texts({"spec": [{"args": [text]}]}) if contains(found, name)] == [text]
