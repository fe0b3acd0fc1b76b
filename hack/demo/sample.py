"""The sample VM: a disk with a file system full of real files, and a data disk."""

from __future__ import annotations

import hashlib
import random
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

from .kubectl import CHECKOUT, call, kubectl

VM_PATH: Final = "/DC1/vm/pgtest1"
_NAME: Final = "pgtest1"
_SEED: Final = 20251005
_ROWS: Final = 200_000
_BLOB: Final = 96 << 20
_SYSTEM_DISK: Final = 1 << 30
_DATA_DISK: Final = 2 << 30
_DATA_KEY: Final = 2001
_CHANGES: Final = 60
_FILES: Final = CHECKOUT / "build" / "demo" / "files"
_IN_POD: Final = "/tmp/demo-files"
_UNPACK: Final = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall(sys.argv[1])"


def write_files() -> None:
    """The folder that becomes the file system: this project's manifests, a table, and a blob that does not compress."""
    shutil.rmtree(_FILES, ignore_errors=True)
    (_FILES / "var/lib/app").mkdir(parents=True)
    for name in ("examples", "crds"):
        shutil.copytree(CHECKOUT / name, _FILES / "usr/share" / name)
    numbers = random.Random(_SEED)
    rows = (f"{n},{numbers.randrange(10**9)},{numbers.random():.6f}" for n in range(_ROWS))
    (_FILES / "var/lib/app/orders.csv").write_text("id,customer,amount\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (_FILES / "var/lib/app/blob.bin").write_bytes(numbers.randbytes(_BLOB))
    (_FILES / "hello.txt").write_text("Hello from inside the backup.\n", encoding="utf-8")


def digest_of(name: str) -> str:
    """SHA-256 of one of the files."""
    return hashlib.sha256((_FILES / name).read_bytes()).hexdigest()


def ensure_vm(control: str, deployment: str, namespace: str) -> dict[str, Any]:
    """Return the VM as the reference VMA describes it; made unless an earlier demo of this checkout did."""
    found = _find(control)
    if found is None or not (_FILES / "hello.txt").exists():
        write_files()
        _send_files(deployment, namespace)
        disks = [
            {"key": 2000, "size": _SYSTEM_DISK, "kind": "ext4", "folder": _IN_POD},
            {"key": _DATA_KEY, "size": _DATA_DISK, "kind": "pattern"},
        ]
        call("POST", f"{control}/_control/vms", {"name": _NAME, "path": VM_PATH, "seed": _SEED, "disks": disks})
        found = _find(control)
    assert found is not None
    return found


def change(control: str, seed: str) -> int:
    """Write here and there on the data disk, as an application would; how many bytes."""
    what = {"key": _DATA_KEY, "count": _CHANGES, "min_size": 4096, "max_size": 1 << 20, "seed": seed}
    written = call("POST", f"{control}/_control/vms/{_NAME}/write", what)["ranges"]
    return sum(length for _, _, length in written)


def _find(control: str) -> dict[str, Any] | None:
    """Return the VM, if it is there with the demo's disks."""
    for vm in call("GET", f"{control}/_control/vms"):
        if vm["path"] == VM_PATH and [disk["size"] for disk in vm["disks"]] == [_SYSTEM_DISK, _DATA_DISK]:
            return dict(vm)
    return None


def _send_files(deployment: str, namespace: str) -> None:
    """Through the API server, so that it does not matter who may write where on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "files.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(_FILES, arcname=".")
        command = ("python3", "-c", _UNPACK, _IN_POD)
        kubectl("exec", "-i", "-n", namespace, f"deployment/{deployment}", "--", *command, given=archive)
