import pytest

from sendense_operator.chain.integrity import Doubt, Evidence, judge, slack, what_ran
from sendense_operator.task import BackupType, FullReason

MIB = 1 << 20
GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "size", "coverage", "received", "whole", "doubt"),
    [
        ("all there", GIB, GIB, GIB + 5 * MIB, True, None),
        ("null driver", GIB, 0, GIB, True, Doubt.WRITES_LOST),
        ("null driver, little sent", 64 * MIB, 0, MIB, False, Doubt.WRITES_LOST),
        ("a tenth lost", 10 * GIB, 9 * GIB, 10 * GIB, False, Doubt.WRITES_LOST),
        ("half of it written", GIB, GIB // 2, GIB // 2, True, Doubt.INCOMPLETE_COPY),
        ("one sector missing", GIB, GIB - 512, GIB, True, Doubt.INCOMPLETE_COPY),
        ("allocated areas only", GIB, GIB // 2, GIB // 2, False, None),
        ("nothing sent, nothing kept", GIB, 0, 86, False, None),
        ("nothing sent for a whole disk", GIB, 0, 86, True, Doubt.INCOMPLETE_COPY),
        ("the kernel does not tell", GIB, GIB, None, True, None),
        ("the kernel does not tell, a gap", GIB, GIB - 1, None, True, Doubt.INCOMPLETE_COPY),
        ("a connection was missed", GIB, GIB, 0, True, None),
        ("the end of a connection was missed", GIB, GIB, GIB // 3, True, None),
        ("written twice within the slack", GIB, GIB, GIB + 64 * MIB, True, None),
    ],
)
def test_judge(name: str, size: int, coverage: int, received: int | None, whole: bool, doubt: Doubt | None) -> None:
    refusal = judge(Evidence(3, size, coverage, received, whole))
    assert (refusal.doubt if refusal else None) == doubt, name
    if refusal:
        assert "disk 3" in refusal.message


@pytest.mark.parametrize(
    ("on_parent", "coverage", "copied_all", "doubt", "ran"),
    [
        (False, GIB, None, None, (BackupType.FULL, None)),
        (True, MIB, None, None, (BackupType.INCREMENTAL, None)),
        (True, 0, None, None, (BackupType.INCREMENTAL, None)),
        (True, GIB, None, None, (BackupType.FULL, FullReason.APPLIANCE_COPIED_ALL)),
        (True, GIB, FullReason.CBT_RESET, None, (BackupType.FULL, FullReason.CBT_RESET)),
        (True, GIB - 512, FullReason.CBT_RESET, Doubt.INCOMPLETE_COPY, None),
    ],
)
def test_layers_begun_as_increments(
    on_parent: bool,
    coverage: int,
    copied_all: FullReason | None,
    doubt: Doubt | None,
    ran: tuple[BackupType, FullReason | None] | None,
) -> None:
    evidence = Evidence(1, GIB, coverage, coverage, False, on_parent, copied_all)
    refusal = judge(evidence)
    assert (refusal.doubt if refusal else None) == doubt
    if refusal is None:
        assert what_ran(evidence) == ran


def test_slack_is_never_everything() -> None:
    for received in (64 << 10, MIB, 64 * MIB, GIB, 1 << 40):
        assert slack(received) < received
