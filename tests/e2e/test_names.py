"""Hostile VMware names are backed up fine, and never become a path, an option or a job id."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
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


@pytest.mark.parametrize("vmware", NAMES.values(), ids=NAMES.keys())
def test_hostile_name(space: Workspace, vmware: str) -> None:
    last = vmware.replace("/", "%2f")  # as vCenter writes a slash in a name
    path = f"/DC1/vm/folder/{last}"
    space.add_secret()
    space.add_appliance()
    space.add_repository()
    space.add_vm("vm", Disk("pattern", 4 * MIB), Disk("random", 2 * MIB), vmware=vmware, path=path)
    space.backup()
    status = space.wait_phase("Completed")
    images.assert_identical(space)
    assert status["vmName"] == vmware
    folder = space.folders["repo"]
    assert all(re.fullmatch(r"[a-z0-9./_-]+", name) for name in folder.files() if name != "lost+found")
    assert {name.split("/")[0] for name in folder.layers()} == {space.namespace}
    assert re.fullmatch(r"backup-[0-9a-f-]{36}", status["jobID"])
    (manifest,) = folder.manifests()
    assert vmware in json.dumps(manifest, ensure_ascii=False) or json.dumps(vmware)[1:-1] in json.dumps(manifest)
    assert space.workers()
    for pod in space.kube.select("Pod", space.namespace):
        told = [pod["metadata"]["name"], pod["metadata"]["labels"], pod["spec"]]
        assert [text for text in texts(told) if contains(text, vmware)] == [], "the task alone has it"
    (start,) = space.vma.starts()
    assert not contains(start["body"]["nbd_targets"], vmware)


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys too."""
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
