"""The proof: every QCOW2 and every restored image against its source disk, and a file read out of the backup.

A pod on the claims' node mounts their volumes' folders beside the reference VMA's disks, all read-only. Only a demo
does that: it needs host paths, which no program of the operator ever gets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from . import sample
from .kubectl import DemoError, get, kubectl
from .sizes import size

NAMESPACE: Final = "sendense-reference-vma"
_POD: Final = "demo-proof"
_REPOSITORY: Final = "/repository"
_SOURCE: Final = "/source"
_SOURCE_ON_NODE: Final = "/srv/sendense/vma"
_SCRATCH: Final = "/scratch"
_KEPT: Final = f"{_SCRATCH}/before"
_FILE: Final = "var/lib/app/orders.csv"
IDENTICAL: Final = "Images are identical."


@dataclass(frozen=True)
class Place:
    """Where a claim's files really are."""

    node: str
    folder: str


def place_of(volume: dict[str, Any], node: str) -> Place:
    """Return the folder of a PersistentVolume on its node. Raises DemoError for a volume that is no folder."""
    spec = volume["spec"]
    folder = (spec.get("hostPath") or spec.get("local") or {}).get("path")
    if not folder:
        raise DemoError(f"the volume {volume['metadata']['name']} is no folder of a node: compare by hand")
    return Place(node, folder)


def build_pod(image: str, node: str, claimed: Mapping[str, str]) -> dict[str, Any]:
    """Return the pod that sees all sides; `claimed`: folders of claims on the node, by their names in the pod."""
    folders = {**claimed, "source": _SOURCE_ON_NODE}
    mounts = [{"name": name, "mountPath": f"/{name}", "readOnly": True} for name in folders]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _POD, "namespace": NAMESPACE},
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "proof",
                    "image": image,
                    "command": ["sleep", "3600"],
                    "securityContext": {"runAsUser": 0},
                    "volumeMounts": [*mounts, {"name": "scratch", "mountPath": _SCRATCH}],
                }
            ],
            "volumes": [
                *({"name": name, "hostPath": {"path": path}} for name, path in folders.items()),
                {"name": "scratch", "emptyDir": {}},
            ],
        },
    }


@contextmanager
def pod(image: str, claims: Mapping[str, str], namespace: str, node: str) -> Iterator[None]:
    """The pod, as long as the block lasts; `claims`: by the names of their folders in the pod."""
    places = {}
    for folder, claim in claims.items():
        volume = get("pvc", claim, "-n", namespace)["spec"]["volumeName"]
        places[folder] = place_of(get("pv", volume), node).folder
    _remove()
    kubectl("create", "-f", "-", given=json.dumps(build_pod(image, node, places)))
    try:
        kubectl("wait", "-n", NAMESPACE, f"pod/{_POD}", "--for=condition=Ready", "--timeout=120s")
        yield
    finally:
        _remove()


def _remove() -> None:
    kubectl("delete", "pod", _POD, "-n", NAMESPACE, "--ignore-not-found", "--wait")


def _inside(*command: str) -> str:
    return kubectl("exec", "-n", NAMESPACE, _POD, "--", *command)


def show_files(backup: dict[str, Any], namespace: str) -> None:
    """Where the files lie, and the manifest."""
    vm = backup["spec"]["vmRef"]["name"]
    manifest = backup["status"]["manifest"]
    print(
        _inside("find", _REPOSITORY, "-path", f"*/{namespace}/{vm}/*", "-type", "f", "-printf", "  %P  %kK on disk\n")
    )
    print(f"The manifest {manifest}, the commit point:\n")
    print("\n".join(f"  {line}" for line in _pretty(_inside("cat", f"{_REPOSITORY}/{manifest}")).splitlines()))


def _pretty(text: str) -> str:
    return json.dumps(json.loads(text), indent=2)


def keep_sources(vm: dict[str, Any]) -> None:
    """Copy the source disks as they are now, for `compare` after they have changed."""
    for disk in vm["disks"]:
        kept = f"{_KEPT}/{disk['file']}"
        _inside("sh", "-c", 'mkdir -p "${1%/*}" && cp --sparse=always "$0" "$1"', f"{_SOURCE}/{disk['file']}", kept)


def compare(backup: dict[str, Any], vm: dict[str, Any], *, kept: bool = False) -> bool:
    """`qemu-img compare` of each disk with its source, or with what was kept of it; whether all are identical."""
    folder = _KEPT if kept else _SOURCE
    sources = {disk["key"]: disk["file"] for disk in vm["disks"]}
    same = True
    for disk in backup["status"]["disks"]:
        source = f"{folder}/{sources[disk['key']]}"
        layer = f"{_REPOSITORY}/{disk['file']}"
        reported = f"disk {disk['id']}, {disk['type']}, {size(disk['virtualSize'])}, stored {size(disk['storedBytes'])}"
        same = _compare(source, layer, "qcow2", reported) and same
    return same


def _compare(source: str, image: str, image_format: str, reported: str) -> bool:
    command = ["qemu-img", "compare", "-f", "raw", "-F", image_format, source, image]
    print(f"  $ {' '.join(command)}")
    try:
        answer = _inside(*command).strip()
    except DemoError as error:
        answer = str(error).partition("\n")[2]
    print(f"  {answer}   ({reported})\n")
    return answer == IDENTICAL


def restored_folder(index: int) -> str:
    """Return the name in the pod of the folder with the restored disk of this index."""
    return f"restored-{index}"


def compare_restored(restore: dict[str, Any], vm: dict[str, Any]) -> bool:
    """Compare each restored image with its source, and check the file system in disk 0; whether all is well."""
    same = True
    for disk, source in zip(restore["status"]["disks"], vm["disks"], strict=True):
        image = f"/{restored_folder(disk['index'])}/disk.img"
        reported = f"disk {disk['index']}, {size(disk['virtualSize'])}, {size(disk['dataBytes'])} of data"
        same = _compare(f"{_SOURCE}/{source['file']}", image, "raw", reported) and same
    first = f"/{restored_folder(0)}/disk.img"
    print(f"  $ e2fsck -fn {first}")
    print("".join(f"  {line}\n" for line in _inside("e2fsck", "-fn", first).splitlines() if line.strip()))
    return same


def read_file(backup: dict[str, Any]) -> bool:
    """List the file system in disk 0's QCOW2, and read a file out of it: whether it is the file that went in."""
    raw, out = f"{_SCRATCH}/disk.raw", f"{_SCRATCH}/file"
    layer = f"{_REPOSITORY}/{backup['status']['disks'][0]['file']}"
    _inside("qemu-img", "convert", "-f", "qcow2", "-O", "raw", layer, raw)
    print("  $ debugfs -R 'ls -l /'")
    print("".join(f"  {line}\n" for line in _inside("debugfs", "-R", "ls -l /", raw).splitlines() if line.strip()))
    _inside("debugfs", "-R", f"dump /{_FILE} {out}", raw)
    digest = _inside("sha256sum", out).split()[0]
    same = digest == sample.digest_of(_FILE)
    print(
        f"  /{_FILE} out of the backup: sha256 {digest[:16]}…, {'the same' if same else 'NOT the same'} as what went in"
    )
    return same
