"""The sample VM: a disk with a file system full of real files, and a data disk."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from pathlib import Path
from typing import Any, Final

from .kubectl import CHECKOUT, call

VM_PATH: Final = "/DC1/vm/pgtest1"
_NAME: Final = "pgtest1"
_SEED: Final = 20251005
_ROWS: Final = 200_000
_BLOB: Final = 96 << 20
_SYSTEM_DISK: Final = 1 << 30
_DATA_DISK: Final = 2 << 30
_DATA: Final = Path(os.environ.get("SENDENSE_DATA") or CHECKOUT / "build" / "data") / "vma"
_IN_POD: Final = "/srv/sendense/vma"
_FOLDER: Final = ".demo-files"


def write_files() -> Path:
    """The folder that becomes the file system: this project's texts, a table, and a blob that does not compress."""
    folder = _DATA / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "var/lib/app").mkdir(parents=True)
    for name in ("examples", "crds"):
        shutil.copytree(CHECKOUT / name, folder / "usr/share" / name)
    numbers = random.Random(_SEED)
    rows = (f"{n},{numbers.randrange(10**9)},{numbers.random():.6f}" for n in range(_ROWS))
    (folder / "var/lib/app/orders.csv").write_text("id,customer,amount\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (folder / "var/lib/app/blob.bin").write_bytes(numbers.randbytes(_BLOB))
    (folder / "hello.txt").write_text("Hello from inside the backup.\n", encoding="utf-8")
    return folder


def digest_of(name: str) -> str:
    """SHA-256 of one of the files."""
    return hashlib.sha256((_DATA / _FOLDER / name).read_bytes()).hexdigest()


def ensure_vm(control: str) -> dict[str, Any]:
    """The VM as the reference VMA describes it; made unless it is there with disks of these sizes."""
    wanted = [_SYSTEM_DISK, _DATA_DISK]
    for vm in call("GET", f"{control}/_control/vms"):
        known = (_DATA / _FOLDER / "hello.txt").exists()
        if vm["path"] == VM_PATH and [disk["size"] for disk in vm["disks"]] == wanted and known:
            return dict(vm)
    write_files()
    disks = [
        {"key": 2000, "size": _SYSTEM_DISK, "kind": "ext4", "folder": f"{_IN_POD}/{_FOLDER}"},
        {"key": 2001, "size": _DATA_DISK, "kind": "pattern"},
    ]
    body = {"name": _NAME, "path": VM_PATH, "seed": _SEED, "disks": disks}
    call("POST", f"{control}/_control/vms", body)
    return next(dict(vm) for vm in call("GET", f"{control}/_control/vms") if vm["path"] == VM_PATH)
