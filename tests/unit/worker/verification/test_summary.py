"""The message of a verification's answer."""

from sendense_operator.worker.verification.summary import MOST_TEXT, Damaged, describe_damage, describe_failures


def test_one_and_several() -> None:
    first = Damaged("b-3", 0, "full.qcow2 is truncated")
    assert describe_damage([], 12) == ""
    assert describe_damage([first], 12) == (
        "1 of 12 restore points does not read as it was written: b-3. Disk 0: full.qcow2 is truncated"
    )
    assert describe_damage([first, Damaged("b-4", 1, "x")], 12) == (
        "2 of 12 restore points do not read as they were written: b-3, b-4. Disk 0: full.qcow2 is truncated"
    )


def test_many_with_long_names() -> None:
    damaged = [Damaged(f"{number:03}" + "n" * 60, 0, "t" * 2000) for number in range(500)]
    text = describe_damage(damaged, 500)
    assert len(text) == MOST_TEXT
    assert text.startswith("500 of 500 restore points do not read")
    assert " and 497 more. Disk 0: ttt" in text


def test_failures() -> None:
    assert describe_failures([], 3) == ""
    assert describe_failures([("b1", "it hangs"), ("b2", "")], 3) == (
        "2 of 3 restore points could not be verified; b1: it hangs"
    )
