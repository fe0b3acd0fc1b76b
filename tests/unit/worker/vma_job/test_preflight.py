import re

import pytest

from sendense_operator.task import TaskDisk
from sendense_operator.vma.inventory import DiscoveredDisk
from sendense_operator.worker.vma_job.preflight import decide_disks

WANT = [TaskDisk(index=0, key=2000, virtual_size=1024, port=1), TaskDisk(index=1, key=2001, virtual_size=2048, port=2)]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([(0, 2000, 1024), (1, 2001, 2048)], None),
        ([(0, 2000, 1024)], "has 1 disks"),
        ([(0, 2000, 1024), (1, 2001, 4096)], "disk 1 .* 4096"),
        ([(0, 2000, 1024), (1, 2002, 2048)], "key 2002"),
        ([(0, 2001, 2048), (1, 2000, 1024)], "disk 0"),
    ],
)
def test_disks_that_changed(found: list[tuple[int, int, int]], says: str | None) -> None:
    verdict = decide_disks(WANT, [DiscoveredDisk(index, key, size, "") for index, key, size in found])
    assert (verdict is None) if says is None else re.search(says, verdict or "")
