"""Full backups that succeed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from blake3 import blake3
from tests.dataplane.rig import Bench
from tests.dataplane.vma import PASSWORD, Vma

from sendense_operator.answer import Answer
from sendense_operator.chain.manifest import Manifest
from sendense_operator.task import Stage

MIB = 1 << 20


def manifest_of(bench: Bench, answer: Answer) -> Manifest:
    return Manifest.from_json((bench.repository / answer.manifest).read_bytes())


def digest_of(path: Path) -> str:
    """Root digest of a raw disk, computed without any of the worker's reading."""
    digests = b""
    with path.open("rb") as file:
        while chunk := file.read(4 * MIB):
            digests += blake3(chunk).digest()
    return blake3(digests).hexdigest()


def test_disks_of_all_kinds(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm(
        {"size": 100 * MIB + 512, "kind": "hidden"},
        {"size": 200 * MIB, "kind": "empty"},
        {"size": 33 * MIB + 1536, "kind": "random"},
        {"size": 64 * MIB, "kind": "pattern"},
    )
    worker = bench.start(bench.task(vm))
    assert worker.wait() == 0, worker.log()
    answer = worker.answer
    bench.assert_identical(vm, answer)
    manifest = manifest_of(bench, answer)
    assert bench.files() == {answer.manifest, *manifest.files()}
    assert (answer.job_id, answer.manifest) == (f"backup-{worker.uid}", "shop/db/backups/nightly.json")
    for disk, source, shown in zip(manifest.disks, vm["disks"], answer.disks, strict=True):
        raw = vma.disks / source["file"]
        assert disk.digest.root == digest_of(raw)
        assert (disk.key, disk.virtual_size, disk.coverage) == (source["key"], source["size"], source["size"])
        assert disk.received_bytes is not None
        assert disk.virtual_size <= disk.received_bytes < disk.virtual_size * 1.05 + 64 * 1024
        assert shown.received_bytes == shown.virtual_size
        assert shown.stored_bytes == (bench.repository / shown.file).stat().st_blocks * 512
        assert shown.change_id.endswith("/1")
    empty = answer.disks[1]
    assert empty.guest_bytes == 0
    assert empty.stored_bytes < 2 * MIB
    assert answer.disks[2].guest_bytes == vm["disks"][2]["size"]
    assert PASSWORD not in worker.log() + json.dumps(manifest.model_dump(mode="json"))


def test_a_second_attempt_adopts(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 8 * MIB, "kind": "random"})
    task = bench.task(vm)
    first = bench.run(task)
    second = bench.run(task)
    assert (second.outcome, second.adopted, second.disks) == ("Completed", True, first.disks)
    assert vma.starts() == 1


def test_the_next_backup_of_the_vm(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 8 * MIB, "kind": "random"})
    first = bench.run(bench.task(vm))
    source = vma.disks / vm["disks"][0]["file"]
    before = source.read_bytes()
    vma.call("POST", "vms/pg/write", {"count": 8, "size": 4096, "seed": 7})
    second = bench.run(bench.task(vm, backup="nightly-2"))
    bench.assert_identical(vm, second)
    assert {first.disks[0].file, second.disks[0].file} < bench.files()
    assert digest_of(source) == manifest_of(bench, second).disks[0].digest.root
    source.write_bytes(before)
    bench.assert_identical(vm, first)


def test_sixteen_disks(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm(*({"size": 4 * MIB + 512 * index, "kind": "pattern"} for index in range(16)))
    answer = bench.run(bench.task(vm))
    assert answer.outcome == "Completed", answer.message
    bench.assert_identical(vm, answer)


@pytest.mark.parametrize(
    "name", ["../../etc", "a'b\"c", "json:{},x=y", "a\nb", "x-disk1-y", "n" * 255, "ü" * 100, "%2f", "a b?c#d"]
)
def test_hostile_names_are_data(bench: Bench, vma: Vma, name: str) -> None:
    path = f"/DC1/vm/{name.replace('/', '%2f')}"
    vm = vma.make_vm({"size": 2 * MIB, "kind": "random"}, name=name, path=path)
    worker = bench.start(bench.task(vm))
    assert worker.wait() == 0, worker.log()
    bench.assert_identical(vm, worker.answer)
    assert manifest_of(bench, worker.answer).vm.vmware_path == path
    assert all(part.startswith(("shop", "db", "disk-", "backups", "full-", "nightly")) for part in parts(bench))


def parts(bench: Bench) -> set[str]:
    return {part for file in bench.files() for part in file.split("/")}


def test_progress_while_it_runs(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 96 * MIB, "kind": "random"}, {"size": 8 * MIB, "kind": "random"})
    vma.fault("client", "rate", bytes_per_second=48 * MIB)
    worker = bench.start(bench.task(vm))
    totals, rates = [0], [0.0]
    while worker.process.poll() is None:
        progress = worker.progress()
        if progress is None:
            continue
        totals.append(sum(disk.received_bytes for disk in progress.disks))
        assert totals[-1] >= totals[-2]
        assert all(disk.received_bytes <= disk.virtual_size for disk in progress.disks)
        if progress.stage == Stage.COPYING:
            rates.append(progress.rate)
    assert worker.answer.outcome == "Completed", worker.log()
    assert totals[-1] == 104 * MIB
    assert 8 * MIB < max(rates) < 400 * MIB


def test_a_start_that_is_never_answered_is_one_job(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 8 * MIB, "kind": "random"})
    vma.fault("start", "accept-no-answer", seconds=10)
    answer = bench.run(bench.task(vm, clocks={"request": 1.0}))
    assert answer.outcome == "Completed", answer.message
    assert vma.starts() == 1
