"""Images from the engine into the workers' image stores: only the layers that a store doesn't hold yet.

`kind load` carries every image whole into every node: 200 MB each time a line of code has changed, of which the store
then finds that it has all but the last 2 MB. Here the engine's archive is written anew, in the form of OCI's image
layout, without the layers that the store has.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .engine import Engine
from .settings import nodes
from .shell import pipe, step, together

_CTR = ("ctr", "-n", "k8s.io")
_OCI = "application/vnd.oci.image"


def load(engine: Engine, images: list[str]) -> None:
    """Put images into the workers' stores, unless they hold that name already."""
    lacking = {worker: lack for worker in nodes()[1:] if (lack := _lack(engine, worker, images))}
    if not lacking:
        return
    missing = sorted(set().union(*lacking.values()))
    step(f"loading {', '.join(missing)} into {' and '.join(lacking)} (3 s; 15 s the first time)")
    # one archive for all: it leaves out what each of them has
    held = set.intersection(*[_content(engine, worker) for worker in lacking])
    with tempfile.TemporaryDirectory() as folder:
        saved, lean = Path(folder) / "saved.tar", Path(folder) / "lean.tar"
        engine.run("save", "-o", saved, *missing)
        with tarfile.open(saved) as source, tarfile.open(lean, "w") as target:
            write_lean(source, target, held)
        saved.unlink()
        together(*[lambda worker=worker: _import(engine, worker, lean) for worker in lacking])


def _lack(engine: Engine, worker: str, images: list[str]) -> list[str]:
    names = _ctr(engine, worker, "images", "ls", "-q")
    return [image for image in images if not any(name.endswith(f"/{image}") for name in names)]


def _content(engine: Engine, worker: str) -> set[str]:
    """Return the digests of what a worker's store holds."""
    return {line.split()[0] for line in _ctr(engine, worker, "content", "ls")[1:] if line.strip()}


def _import(engine: Engine, worker: str, archive: Path) -> None:
    into = (engine.command, "exec", "-i", worker, *_CTR, "images", "import", "-")
    pipe(["cat", archive], into, engine.env)


def forget(engine: Engine, images: list[str]) -> None:
    """Drop images from the workers' stores, where they are."""
    for worker in nodes()[1:]:
        names = _ctr(engine, worker, "images", "ls", "-q") if images else []
        old = [name for name in names if any(name.endswith(f"/{image}") for image in images)]
        if old:
            engine.succeeds("exec", worker, *_CTR, "images", "rm", *old)


def _ctr(engine: Engine, worker: str, *arguments: str) -> list[str]:
    return engine.run("exec", worker, *_CTR, *arguments).splitlines()


@dataclass(frozen=True)
class _Blob:
    """Something with a digest: its bytes, or the archive's member that has them."""

    kind: str
    digest: str
    size: int
    content: bytes | tarfile.TarInfo

    def descriptor(self, **more: Any) -> dict[str, Any]:
        return {"mediaType": f"{_OCI}.{self.kind}", "digest": self.digest, "size": self.size, **more}


def write_lean(source: tarfile.TarFile, target: tarfile.TarFile, held: set[str]) -> None:
    """From an archive of `docker save` (of any version, or podman's) to an image layout without the layers `held`."""
    manifests = []
    written = set(held)
    for image in json.load(_member(source, "manifest.json")):
        blobs = list(_blobs(source, image))
        config, *layers = [blob.descriptor() for blob in blobs]
        text = {"schemaVersion": 2, "mediaType": f"{_OCI}.manifest.v1+json", "config": config, "layers": layers}
        manifest = _from_bytes("manifest.v1+json", json.dumps(text).encode())
        for blob in (*blobs, manifest):
            if blob.digest not in written:
                written.add(blob.digest)
                _add(source, target, blob)
        for tag in image["RepoTags"] or []:
            # a short name is one of Docker's own registry, for the engine as for the kubelet
            name = tag if "/" in tag else f"docker.io/library/{tag}"
            manifests.append(manifest.descriptor(annotations={"io.containerd.image.name": name}))
    _add_bytes(target, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    _add_bytes(target, "index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode())


def _blobs(source: tarfile.TarFile, image: dict[str, Any]) -> Iterator[_Blob]:
    """Yield the configuration, then the layers, unpacked as in an archive: a diff id is the digest."""
    config = _member(source, image["Config"]).read()
    yield _from_bytes("config.v1+json", config)
    for path, digest in zip(image["Layers"], json.loads(config)["rootfs"]["diff_ids"], strict=True):
        member = source.getmember(path)
        while member.issym():
            # a layer that two images share
            member = source.getmember(str((Path("/") / path).parent.joinpath(member.linkname).resolve()).lstrip("/"))
        yield _Blob("layer.v1.tar", digest, member.size, member)


def _from_bytes(kind: str, content: bytes) -> _Blob:
    return _Blob(kind, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), content)


def _member(source: tarfile.TarFile, name: str) -> IO[bytes]:
    found = source.extractfile(name)
    if found is None:
        raise ValueError(f"the engine's archive has no file {name}")
    return found


def _add(source: tarfile.TarFile, target: tarfile.TarFile, blob: _Blob) -> None:
    name = f"blobs/{blob.digest.replace(':', '/')}"
    if isinstance(blob.content, bytes):
        _add_bytes(target, name, blob.content)
        return
    entry = tarfile.TarInfo(name)
    entry.size = blob.size
    target.addfile(entry, source.extractfile(blob.content))


def _add_bytes(target: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    target.addfile(entry, io.BytesIO(content))
