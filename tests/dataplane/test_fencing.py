"""A worker that was thought dead: another one writes its chain meanwhile, and then it comes back."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.dataplane.rig import Bench
from tests.dataplane.vma import Vma

from sendense_operator.task import ExitCode

MIB = 1 << 20


def contents(root: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of the last change of all that lies in a repository."""
    found = {}
    for path in root.rglob("*"):
        state = path.stat()
        found[str(path.relative_to(root))] = (state.st_ino, state.st_mtime_ns)
    return found


def test_one_that_comes_back_writes_nothing_any_more(bench: Bench, vma: Vma, tmp_path: Path) -> None:
    """Its storage has forgotten its lock, as a server of NFS does with one that was silent for too long."""
    vm = vma.make_vm({"size": 64 * MIB, "kind": "random"})
    vma.fault("client", "rate", bytes_per_second=4 * MIB)
    late = bench.start(bench.task(vm, clocks={"cancel": 1}))
    late.until_copying()
    late.process.send_signal(signal.SIGSTOP)
    (bench.repository / "shop" / "db" / ".lock").unlink()

    second = Bench(tmp_path / "second", vma)
    second.repository, second.repository_id = bench.repository, bench.repository_id
    try:
        answer = second.run(second.task(vm, backup="second"))
        assert answer.outcome == "Completed", answer.message
        committed = contents(bench.repository)
        late.process.send_signal(signal.SIGCONT)
        assert late.wait() == ExitCode.RETRY, late.log()
        assert late.answer.reason == "Fenced", late.answer.message
        assert contents(bench.repository) == committed
        second.assert_identical(vm, answer)
    finally:
        second.close()
