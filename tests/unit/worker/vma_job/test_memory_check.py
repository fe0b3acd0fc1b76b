from pathlib import Path

import pytest

from sendense_operator.answer import Answer
from sendense_operator.chain.memory_estimate import DiskLoad, estimate
from sendense_operator.task import ExitCode
from sendense_operator.worker.errors import WorkerError, exit_code
from sendense_operator.worker.vma_job.memory_check import check_memory, limit


def test_the_limit_of_the_container(tmp_path: Path) -> None:
    new, old = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"
    assert limit([new, old]) is None
    old.write_text("9223372036854771712\n")
    assert limit([new, old]) == 9223372036854771712
    new.write_text("1073741824\n")
    assert limit([new, old]) == 1 << 30
    new.write_text("max\n")
    assert limit([new, old]) is None
    new.write_bytes(b"\xff")
    assert limit([new]) is None


def test_too_little_fails_at_once_with_the_numbers() -> None:
    loads = [DiskLoad(1 << 40, 32)] * 2
    check_memory(loads, None)
    check_memory(loads, estimate(loads))
    with pytest.raises(
        WorkerError, match=r"about \d+ MiB .* 2 disks of up to 1024 GiB in up to 32 layers.* 100 MiB"
    ) as found:
        check_memory(loads, 100 << 20)
    answer = Answer(outcome="Failed", reason=found.value.reason, message=found.value.message)
    assert (found.value.reason, exit_code(answer)) == ("MemoryExceeded", ExitCode.FATAL)
