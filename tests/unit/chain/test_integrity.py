import pytest

from sendense_operator.chain.integrity import Evidence, IntegrityReason, judge_layer, slack, what_ran
from sendense_operator.task import BackupType, FullReason

MIB = 1 << 20
GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "virtual_size", "coverage", "received_bytes", "whole", "doubt"),
    [
        ("all there", GIB, GIB, GIB + 5 * MIB, True, None),
        ("null driver", GIB, 0, GIB, True, IntegrityReason.WRITES_LOST),
        ("null driver, little sent", 64 * MIB, 0, MIB, False, IntegrityReason.WRITES_LOST),
        ("a tenth lost", 10 * GIB, 9 * GIB, 10 * GIB, False, IntegrityReason.WRITES_LOST),
        ("half of it written", GIB, GIB // 2, GIB // 2, True, IntegrityReason.INCOMPLETE_COPY),
        ("one sector missing", GIB, GIB - 512, GIB, True, IntegrityReason.INCOMPLETE_COPY),
        ("allocated areas only", GIB, GIB // 2, GIB // 2, False, None),
        ("nothing sent, nothing kept", GIB, 0, 86, False, None),
        ("nothing sent for a whole disk", GIB, 0, 86, True, IntegrityReason.INCOMPLETE_COPY),
        ("the kernel does not tell", GIB, GIB, None, True, None),
        ("the kernel does not tell, a gap", GIB, GIB - 1, None, True, IntegrityReason.INCOMPLETE_COPY),
        ("a connection was missed", GIB, GIB, 0, True, None),
        ("the end of a connection was missed", GIB, GIB, GIB // 3, True, None),
        ("written twice within the slack", GIB, GIB, GIB + 64 * MIB, True, None),
    ],
)
def test_judge(
    name: str, virtual_size: int, coverage: int, received_bytes: int | None, whole: bool, doubt: IntegrityReason | None
) -> None:
    refusal = judge_layer(Evidence(3, virtual_size, coverage, received_bytes, whole))
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
        (True, GIB - 512, FullReason.CBT_RESET, IntegrityReason.INCOMPLETE_COPY, None),
    ],
)
def test_layers_begun_as_increments(
    on_parent: bool,
    coverage: int,
    copied_all: FullReason | None,
    doubt: IntegrityReason | None,
    ran: tuple[BackupType, FullReason | None] | None,
) -> None:
    evidence = Evidence(1, GIB, coverage, coverage, False, on_parent, copied_all)
    refusal = judge_layer(evidence)
    assert (refusal.doubt if refusal else None) == doubt
    if refusal is None:
        assert what_ran(evidence) == ran


@pytest.mark.parametrize("once", [True, False])
def test_slack_is_never_everything(once: bool) -> None:
    for received_bytes in (64 << 10, MIB, 64 * MIB, GIB, 1 << 40):
        assert slack(received_bytes, once=once) < received_bytes


@pytest.mark.parametrize("written", [8 << 10, 64 << 10, MIB, 100 * MIB, GIB])
@pytest.mark.parametrize("request_bytes", [512, 4096, 1 << 20])
def test_an_increment_that_lost_a_seventh_is_refused(written: int, request_bytes: int) -> None:
    """It writes each area once, so what it sent is known but for headers; a full may repeat itself."""
    received_bytes = written + written // request_bytes * 28 + 800
    whole = Evidence(0, 10 * GIB, written, received_bytes, True, on_parent=True)
    assert judge_layer(whole) is None
    # Handshakes alone could be as much as the smallest of these.
    kept = written * 6 // 7 if written > 64 << 10 else 0
    refusal = judge_layer(Evidence(0, 10 * GIB, kept, received_bytes, True, on_parent=True))
    assert refusal is not None
    assert refusal.doubt is IntegrityReason.WRITES_LOST
