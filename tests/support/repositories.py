"""Repositories for tests: a folder that the host shares with the nodes, as a `local` PersistentVolume of one node."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support import manifests, programs
from tests.support.kube import Kube
from tests.support.objects import Obj

NODE_DATA: Final = "/srv/sendense"
HOSTNAME: Final = "kubernetes.io/hostname"


@dataclass(frozen=True)
class Folder:
    """A repository's folder as the host sees it."""

    path: Path
    volume: str

    def files(self, pattern: str = "**/*") -> list[str]:
        """Return the files below the folder, sorted; paths relative to it."""
        return sorted(str(f.relative_to(self.path)) for f in self.path.glob(pattern) if f.is_file())

    def partials(self) -> list[str]:
        """Return what a worker has not committed."""
        return self.files("**/*.partial*")

    def layers(self) -> list[str]:
        """Committed images."""
        return self.files("**/*.qcow2")

    def manifests(self) -> list[Obj]:
        """Committed restore points."""
        return self._read("**/backups/*.json")

    def tombstones(self) -> list[Obj]:
        """Manifests of removed restore points whose layers are still there."""
        return self._read("**/.tombstones/*.json")

    def quarantined(self) -> list[str]:
        """Return the files that nobody knew, as they are called now."""
        return self.files("**/.quarantine/**/*")

    def orphans(self) -> list[str]:
        """Return the layers and digests that no manifest names."""
        owned = {
            name
            for manifest in (*self.manifests(), *self.tombstones())
            for disk in manifest["disks"]
            for name in (disk["file"], disk["digest"]["list"])
        }
        return [name for name in self.files("**/disk-*/*") if name not in owned and ".quarantine" not in name]

    def _read(self, pattern: str) -> list[Obj]:
        return [json.loads((self.path / name).read_text()) for name in self.files(pattern)]


def worker_nodes(kube: Kube) -> list[str]:
    """Return the names of the nodes that take pods, sorted."""
    nodes = kube.select("Node", labels="!node-role.kubernetes.io/control-plane")
    return sorted(node["metadata"]["name"] for node in nodes)


def make_folder(name: str, below: str = "repos") -> Path:
    """Return an empty folder that all nodes see."""
    folder = programs.data() / below / name
    folder.mkdir(parents=True)
    return folder


def volume(name: str, claim: str, namespace: str, nodes: Sequence[str], path: str, **more: Any) -> Obj:
    """Return a PersistentVolume of one node's folder, or of one that several share; kept for one claim."""
    affinity = {"key": HOSTNAME, "operator": "In", "values": list(nodes)}
    return manifests.manifest(
        "PersistentVolume",
        name,
        None,
        {
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "claimRef": {"name": claim, "namespace": namespace},
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [affinity]}]}},
            **more,
        },
    )


def claim(name: str, namespace: str, volume_name: str, **more: Any) -> Obj:
    """Return the claim of such a volume."""
    return manifests.manifest(
        "PersistentVolumeClaim",
        name,
        namespace,
        {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "volumeName": volume_name,
            "resources": {"requests": {"storage": "1Gi"}},
            **more,
        },
    )


def remove(kube: Kube, folders: Iterable[Folder]) -> None:
    """Volumes and files, whatever is still in them."""
    for folder in folders:
        kube.delete("PersistentVolume", folder.volume)
        shutil.rmtree(folder.path, ignore_errors=True)
