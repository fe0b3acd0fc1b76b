"""What long chains and full repositories cost: reading through layers, listing restore points, deleting."""

from __future__ import annotations

import os
import statistics
import time
import uuid
from functools import partial
from pathlib import Path
from typing import Final

from hack.bench.copying import PROBE_SECONDS
from hack.bench.incrementals import change, long_runs
from tests.support import images
from tests.support.namespaces import wait_gone
from tests.support.repositories import Folder
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

from sendense_operator.chain.manifest import Manifest, ManifestDisk

_SIZE: Final = 2048 * MIB
_LAYERS: Final = 8
_READS: Final = 5
_CHAINS: Final = 20
_POINTS: Final = 1000
_DELETES: Final = 5
_READ: Final = """
for image; do
    date +%s.%N
    qemu-img convert -n -T none -f qcow2 --target-image-opts "$image" "driver=null-co,size=$SIZE" || exit 1
    date +%s.%N
done
"""


def reading(space: Workspace) -> dict[str, float]:
    """Reading a disk through layers, each with 5% changed, against the same content in one layer."""
    space.add_vm("deep", Disk("pattern", _SIZE, (("data_fraction", 0.58),)), track=True)
    space.backup("layer-1", vm="deep")
    status = space.wait_phase("Completed", "layer-1", timeout=300)
    for number in range(2, _LAYERS + 1):
        name = f"layer-{number}"
        change(space, "deep", long_runs(name, _SIZE, _SIZE // 20), name)
        space.backup(name, vm="deep", type="Incremental")
        status = space.wait_phase("Completed", name, timeout=300)
    (disk,) = status["disks"]
    assert disk["depth"] == _LAYERS
    layers = space.folders["repo"].path / disk["file"]
    single = space.folders["repo"].path.parent / f"{space.namespace}-single.qcow2"
    try:
        options = "cluster_size=128k,extended_l2=on"
        images.in_image(space, f'qemu-img convert -f qcow2 -O qcow2 -o {options} "$1" "$2"', layers, single)
        # by turns, so that what else the machine does hits both
        through, alone = _read_seconds(space, [layers, single] * _READS)
    finally:
        single.unlink(missing_ok=True)
    return {"chain_read_ratio": alone / through, "chain_read_seconds": through}


def _read_seconds(space: Workspace, paths: list[Path]) -> tuple[float, float]:
    """Medians of the even and of the odd ones."""
    reported = [float(word) for word in images.in_image(space, f"SIZE={_SIZE}\n{_READ}", *paths).split()]
    taken = [end - start for start, end in zip(reported[::2], reported[1::2], strict=True)]
    return statistics.median(taken[::2]), statistics.median(taken[1::2])


def catalogue(space: Workspace) -> dict[str, float]:
    """Measure a scan of a repository with many restore points, one of them with a Backup; then deleting a few."""
    space.add_repository("full-house", node=1, probeIntervalSeconds=PROBE_SECONDS)
    space.add_vm("seed", Disk("random", MIB))
    space.backup("seed", vm="seed", repository="full-house")
    manifest = space.wait_phase("Completed", "seed")["manifest"]
    fill(space.folders["full-house"], manifest, _POINTS - 1)
    started = time.monotonic()
    found = space.scan("full-house", timeout=600)
    scanned = time.monotonic() - started
    assert found["points"] == _POINTS, found
    wait_for("all Backups", partial(_all_completed, space), timeout=900, interval=2)
    return {"scan_1000_seconds": scanned, "adopt_1000_seconds": time.monotonic() - started, **_deleting(space)}


def _all_completed(space: Workspace) -> None:
    fields = "spec.repositoryRef.name=full-house,status.phase=Completed"
    count = len(space.kube.select("Backup", space.namespace, fields=fields))
    until(count == _POINTS, f"{count} Backups are Completed")


def _deleting(space: Workspace) -> dict[str, float]:
    """Deleting a restore point that nobody needs, in that repository: the object, and then its files."""
    gone, freed = [], []
    for number in range(_DELETES):
        name = f"p{number}-c0"
        file = space.folders["full-house"].path / space.status(name)["disks"][0]["file"]
        started = time.monotonic()
        space.kube.delete("Backup", name, space.namespace)
        wait_gone(space.kube, "Backup", name, space.namespace)
        gone.append(time.monotonic() - started)
        wait_for("its file gone", lambda file=file: until(not file.exists(), file), timeout=120)  # type: ignore[misc]
        freed.append(time.monotonic() - started)
    return {"delete_seconds": statistics.median(gone), "freed_seconds": statistics.median(freed)}


def fill(folder: Folder, like: str, count: int) -> None:
    """Restore points as that manifest's, in some chains of other VMs; layers are hard links."""
    model = Manifest.from_json((folder.path / like).read_bytes())
    for number in range(count):
        vm, sequence = f"c{number % _CHAINS}", number // _CHAINS + 1
        disks = tuple(_linked(folder.path, disk, vm, sequence) for disk in model.disks)
        backup = model.backup.model_copy(update={"name": f"p{sequence - 1}-{vm}", "uid": str(uuid.uuid4())})
        point = model.model_copy(
            update={
                "backup": backup,
                "vm": model.vm.model_copy(update={"name": vm}),
                "sequence": sequence,
                "disks": disks,
            }
        )
        place = folder.path / backup.namespace / vm / "backups" / f"{backup.name}.json"
        _ours(place.parent, folder.path)
        place.write_bytes(point.to_json())


def _linked(root: Path, disk: ManifestDisk, vm: str, number: int) -> ManifestDisk:
    namespace, _, place, _ = disk.file.split("/")
    file = f"{namespace}/{vm}/{place}/full-20250101-{number:06}.qcow2"
    _ours((root / file).parent, root)
    os.link(root / disk.file, root / file)
    os.link(root / disk.digest.list, root / f"{file}.digests")
    return disk.model_copy(update={"file": file, "digest": disk.digest.model_copy(update={"list": f"{file}.digests"})})


def _ours(folder: Path, root: Path) -> None:
    """Make a folder that the workers may write to, as they would have made it."""
    for path in (folder.parent, folder):
        if not path.exists():
            path.mkdir(parents=True)
            path.chmod(0o2775)
            os.chown(path, root.stat().st_uid, root.stat().st_gid)
