"""Makes a small repository to be kept, by the worker of this checkout: `python -m tests.dataplane.make_repository TAR`.

See tests/data/repositories/README.md. Needs the qemu tools and libnbd, as the tests of this folder do.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from tests.dataplane.rig import Bench
from tests.dataplane.test_incremental import flip
from tests.dataplane.vma import Vma, reference_vma

from sendense_operator.answer import Answer
from sendense_operator.task import BackupTask, ProbeTask, Removal

_KIB: Final = 1 << 10
_REPOSITORY_ID: Final = "5e9d0000-0000-4000-8000-000000000001"
_ORPHAN: Final = "shop/db/disk-0/full-20240101-000000.qcow2"


class Maker:
    """Backups of some VMs with disks that are empty but for a few blocks."""

    def __init__(self, bench: Bench, vma: Vma) -> None:
        self._bench, self._vma = bench, vma
        self._vms: dict[str, dict[str, Any]] = {}
        self._count = 0

    def add_vm(self, name: str, *sizes: int) -> None:
        disks = [{"size": size, "kind": "empty"} for size in sizes]
        self._vms[name] = self._vma.make_vm(*disks, name=name, path=f"/DC1/vm/{name}")

    def write(self, vm: str, seed: int) -> None:
        for index, disk in enumerate(self._vms[vm]["disks"]):
            body = {"key": disk["key"], "count": 1, "size": 4 * _KIB, "seed": 10 * seed + index}
            self._vma.call("POST", f"vms/{vm}/write", body)

    def task(self, vm: str, name: str, **changes: Any) -> BackupTask:
        self._count += 1
        uid = f"00000000-0000-4000-8000-{self._count:012}"
        task = self._bench.task(self._vms[vm], backup=name, backupUid=uid, type="Incremental", **changes)
        return task.model_copy(update={"vm": vm})

    def back_up(self, vm: str, name: str) -> Answer:
        time.sleep(1)  # the names of layers count seconds
        answer = self._bench.run(self.task(vm, name))
        assert answer.outcome == "Completed", answer
        return answer

    def fail_after_reset(self, vm: str, name: str) -> None:
        """Fail for a change ID that is of no use any more, which is noted beside its restore point."""
        self._vma.call("POST", f"vms/{vm}/reset-cbt", {})
        # One that rarely checks the connections learns of it when all is written.
        answer = self._bench.run(self.task(vm, name, onMissingParent="Fail"), sample=600.0)
        assert answer.reason == "CBTReset", answer

    def damage(self, vm: str, answer: Answer) -> None:
        """Flip a bit of what was written to the first disk."""
        disk = (self._vma.disks / self._vms[vm]["disks"][0]["file"]).read_bytes()
        layer = self._bench.repository / answer.disks[0].file
        flip(layer, layer.read_bytes().index(disk.strip(b"\0")[:64]))

    def probe(self, **changes: Any) -> None:
        task = ProbeTask(namespace="shop", repository="main", repository_uid=_REPOSITORY_ID, **changes)
        answer = self._bench.run(task)
        assert answer.outcome == "Completed", answer


def make(bench: Bench, vma: Vma) -> None:
    """Fill the repository of `bench`."""
    bench.repository_id = _REPOSITORY_ID
    maker = Maker(bench, vma)
    maker.probe()
    maker.add_vm("db", 1024 * _KIB, 384 * _KIB + 1536)
    for number, name in enumerate(("sunday", "monday", "tuesday"), 1):
        maker.write("db", number)
        maker.back_up("db", name)
    maker.add_vm("web", 256 * _KIB)
    maker.back_up("web", "before-reset")
    maker.fail_after_reset("web", "after-reset")
    maker.add_vm("mail", 256 * _KIB)
    maker.write("mail", 4)
    maker.damage("mail", maker.back_up("mail", "damaged"))
    assert maker.back_up("mail", "after-damage").disks[0].reason == "ParentUnverified"
    (bench.repository / _ORPHAN).write_bytes(b"of nobody")
    monday = Removal(vm="db", backup="monday", backup_uid="00000000-0000-4000-8000-000000000002")
    maker.probe(scan=True, remove=(monday,))


def main() -> int:
    """Write the repository as a compressed archive."""
    target = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as place, reference_vma(Path(place) / "vma") as vma:
        bench = Bench(Path(place) / "bench", vma)
        try:
            make(bench, vma)
        finally:
            bench.close()
        plain = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner"]
        subprocess.run(["tar", *plain, "-C", str(bench.repository), "-cJf", str(target), "."], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
