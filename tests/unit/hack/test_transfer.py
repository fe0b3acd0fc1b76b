"""An engine's archive becomes an image layout that lacks only what the node's store has."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import Any

import pytest
from hack.devcluster.transfer import write_lean

BASE, CODE = b"the large layer", b"the code"
TAG = "app:1"


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


CONFIG = json.dumps({"rootfs": {"diff_ids": [digest(BASE), digest(CODE)]}}).encode()


def archive(members: dict[str, bytes], links: dict[str, str] | None = None) -> tarfile.TarFile:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
        for name, goal in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, goal
            made.addfile(entry)
    file.seek(0)
    return tarfile.open(fileobj=file)


def saved(layers: list[str], config: str, tag: str) -> bytes:
    return json.dumps([{"Config": config, "RepoTags": [tag], "Layers": layers}]).encode()


OLD = {"a/layer.tar": BASE, "b/layer.tar": CODE, "c.json": CONFIG}
NEW = {"blobs/sha256/a": BASE, "blobs/sha256/b": CODE, "blobs/sha256/c": CONFIG}
FORMS = [
    pytest.param(
        archive({**OLD, "manifest.json": saved(["a/layer.tar", "b/layer.tar"], "c.json", TAG)}), id="docker 20"
    ),
    pytest.param(
        archive(
            {**OLD, "manifest.json": saved(["l/layer.tar", "b/layer.tar"], "c.json", TAG)},
            {"l/layer.tar": "../a/layer.tar"},
        ),
        id="docker 20, a shared layer",
    ),
    pytest.param(
        archive(
            {
                **NEW,
                "manifest.json": saved(
                    ["blobs/sha256/a", "blobs/sha256/b"], "blobs/sha256/c", "docker.io/library/app:1"
                ),
            }
        ),
        id="docker 25",
    ),
]


def lean(source: tarfile.TarFile, held: set[str]) -> dict[str, bytes]:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as target:
        write_lean(source, target, held)
    file.seek(0)
    with tarfile.open(fileobj=file) as written:
        return {m.name: content.read() for m in written if (content := written.extractfile(m))}


@pytest.mark.parametrize("source", FORMS)
@pytest.mark.parametrize("held", [set(), {digest(BASE)}, {digest(BASE), digest(CODE)}])
def test_held_layers_are_left_out_and_still_described(source: tarfile.TarFile, held: set[str]) -> None:
    files = lean(source, held)
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"] == {"io.containerd.image.name": "docker.io/library/app:1"}
    manifest: dict[str, Any] = json.loads(_blob(files, entry["digest"]))
    assert _blob(files, manifest["config"]["digest"]) == CONFIG
    assert [(layer["digest"], layer["size"]) for layer in manifest["layers"]] == [
        (digest(BASE), len(BASE)),
        (digest(CODE), len(CODE)),
    ]
    there = {digest(content) for name, content in files.items() if name.startswith("blobs/")}
    assert there == {digest(BASE), digest(CODE), digest(CONFIG), entry["digest"]} - held


def _blob(files: dict[str, bytes], name: str) -> bytes:
    content = files[f"blobs/{name.replace(':', '/')}"]
    assert digest(content) == name
    return content
