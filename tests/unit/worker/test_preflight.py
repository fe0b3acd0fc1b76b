import re

import pytest

from sendense_operator.task import TaskDisk
from sendense_operator.vma.inventory import DiscoveredDisk
from sendense_operator.worker.preflight import decide_disks, reason_of_refusal
from sendense_operator.worker.reasons import Reason

PATH = "/DC1/vm/pgtest1"


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("ServerFaultCode: Cannot complete login due to an incorrect user name or password.", PATH, "VCenterRefused"),
        ("Permission to perform this operation was denied", PATH, "VCenterRefused"),
        ('Post "https://vc/sdk": dial tcp 10.0.0.1:443: connect: connection refused', PATH, "VCenterUnreachable"),
        ("dial tcp: lookup vc on 10.96.0.10:53: no such host", PATH, "VCenterUnreachable"),
        ("x509: certificate signed by unknown authority", PATH, "VCenterUnreachable"),
        (f"vm '{PATH}' not found", PATH, "VMNotFound"),
        ("vm '/DC1/vm/cannot complete login' not found", "/DC1/vm/cannot complete login", "VMNotFound"),
        ("injected fault", PATH, "ApplianceError"),
        ("", PATH, "ApplianceError"),
    ],
)
def test_the_words_of_vcenter(text: str, path: str, reason: str) -> None:
    assert reason_of_refusal(text, path) == Reason(reason)


WANT = [TaskDisk(index=0, key=2000, size=1024, port=1), TaskDisk(index=1, key=2001, size=2048, port=2)]


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
