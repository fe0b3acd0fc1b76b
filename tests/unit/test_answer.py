"""Answers of workers: what comes out, and how much fits into a termination message."""

from __future__ import annotations

import base64
import random
import string
import uuid
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator import compact_encoding
from sendense_operator.answer import (
    MOST_DAMAGED_RANGES,
    TERMINATION_MESSAGE_LIMIT,
    Answer,
    Capacity,
    DamagedRange,
    DiskAnswer,
    RestoredDisk,
)
from sendense_operator.task import MAX_DISKS, BackupType
from sendense_operator.vm_hardware import Hardware, NetworkCard


def disks(number: int) -> tuple[DiskAnswer, ...]:
    """As long as they get: names of 63 characters, sizes up to 64 TiB, all numbers and change ids different."""
    chance = random.Random(number)
    folder = f"{'n' * 63}/{'v' * 63}"
    return tuple(
        DiskAnswer(
            index=index,
            key=2000 + index,
            type=BackupType.FULL,
            file=f"{folder}/disk-{index}/full-20251005-120000.qcow2",
            virtual_size=chance.randrange(1 << 37) * 512,
            stored_bytes=chance.randrange(1 << 34) * 4096,
            guest_bytes=chance.randrange(1 << 37) * 512,
            received_bytes=chance.randrange(1 << 37) * 512,
            change_id=f"{chance.randbytes(16).hex(' ', 1)[:47]}/{chance.randrange(100_000)}",
        )
        for index in range(number)
    )


def answer(number: int, message: str = "") -> Answer:
    return Answer(
        outcome="Completed",
        job_id="backup-0b8f2a4e-5f0e-4a7e-9d0c-1c2d3e4f5a6b",
        repository_id="0b8f2a4e-5f0e-4a7e-9d0c-1c2d3e4f5a6b",
        manifest=f"{'n' * 63}/{'v' * 63}/backups/{'b' * 63}.json",
        disks=disks(number),
        capacity=Capacity(total=1 << 46, free=1 << 45),
        started=datetime(2025, 10, 5, 12, tzinfo=UTC),
        finished=datetime(2025, 10, 5, 13, tzinfo=UTC),
        message=message,
    )


def restored(number: int, ranges: int) -> Answer:
    """A restore's answer with large and different numbers."""
    chance = random.Random(number)
    sizes = [1 << 22, *(chance.randrange(1 << 24) << 22 for _ in range(2 * ranges))]
    return Answer(
        outcome="Completed",
        message="m" * 500,
        started=datetime(2025, 10, 5, 12, tzinfo=UTC),
        finished=datetime(2025, 10, 5, 13, tzinfo=UTC),
        restored=tuple(
            RestoredDisk(
                index=index,
                data_bytes=chance.randrange(1 << 24) << 22,
                written_bytes=chance.randrange(1 << 24) << 22,
                damaged_bytes=chance.randrange(1 << 24) << 22,
                damaged=tuple(
                    DamagedRange(offset=chance.choice(sizes) + chance.randrange(1 << 40), length=chance.choice(sizes))
                    for _ in range(ranges)
                ),
            )
            for index in range(number)
        ),
    )


@pytest.mark.parametrize(("number", "ranges"), [(1, 0), (1, MOST_DAMAGED_RANGES), (MAX_DISKS, 0)])
def test_answers_of_restores_fit_and_come_back(number: int, ranges: int) -> None:
    message = restored(number, ranges).to_message()
    assert len(message.encode()) <= TERMINATION_MESSAGE_LIMIT
    assert Answer.from_message(message) == restored(number, ranges)


def test_damaged_ranges_are_left_out_before_the_message() -> None:
    whole = restored(MAX_DISKS, MOST_DAMAGED_RANGES)
    message = whole.to_message()
    assert len(message.encode()) <= TERMINATION_MESSAGE_LIMIT
    found = Answer.from_message(message)
    assert found.message == whole.message
    assert [disk.damaged_bytes for disk in found.restored] == [disk.damaged_bytes for disk in whole.restored]
    assert not any(disk.damaged for disk in found.restored)


@pytest.mark.parametrize("number", [0, 1, 2, 16, 32])
def test_answers_fit_and_come_back(number: int) -> None:
    message = answer(number).to_message()
    assert len(message.encode()) <= TERMINATION_MESSAGE_LIMIT
    assert Answer.from_message(message) == answer(number)


def test_change_ids_of_64_disks_give_way_to_all_the_rest() -> None:
    message = answer(64).to_message()
    assert len(message.encode()) <= TERMINATION_MESSAGE_LIMIT
    back = Answer.from_message(message)
    without = tuple(disk.model_copy(update={"change_id": ""}) for disk in disks(64))
    assert back == answer(64).model_copy(update={"disks": without})


def hardest(number: int) -> Answer:
    """Whatever a repository's layout and the numbers of disks can come to, and nothing in it repeats."""
    chance = random.Random(number)

    def label() -> str:
        return "".join(chance.choices(string.ascii_lowercase + string.digits, k=63))

    rows = tuple(
        DiskAnswer(
            index=index,
            key=chance.randrange(1 << 31),
            type=chance.choice(list(BackupType)),
            file=f"{label()}/{label()}/disk-{chance.randrange(1000)}/incr-20251005-120000-{chance.randrange(999)}.qcow2",
            virtual_size=chance.randrange(1 << 48),
            stored_bytes=chance.randrange(1 << 48),
            guest_bytes=chance.randrange(1 << 48),
            received_bytes=chance.randrange(1 << 48),
            change_id=chance.randbytes(30).hex(),
            parent_change_id=chance.randbytes(30).hex(),
            reason=label(),
            parent=label(),
            depth=chance.randrange(1, 65),
            changed_bytes=chance.randrange(1 << 48),
            compaction=label(),
        )
        for index in range(number)
    )
    manifest = f"{label()}/{label()}/backups/{label()}.{uuid.UUID(int=chance.getrandbits(128))}.json"
    return answer(0, chance.randbytes(500).hex()).model_copy(update={"disks": rows, "manifest": manifest})


@pytest.mark.parametrize("number", [1, 7, 20, 40, 64])
def test_an_answer_fits_whatever_is_in_it(number: int) -> None:
    message = hardest(number).to_message()
    assert len(message.encode()) <= TERMINATION_MESSAGE_LIMIT
    back = Answer.from_message(message)
    left_out = {"change_id", "parent_change_id", "changed_bytes", "compaction", "reason", "parent", "file"}
    numbers = [disk.model_dump(exclude=left_out) for disk in hardest(number).disks]
    assert [disk.model_dump(exclude=left_out) for disk in back.disks] == numbers
    for kept, whole in zip(back.disks, hardest(number).disks, strict=True):
        for name in left_out:
            assert getattr(kept, name) in ("", None, getattr(whole, name))
    assert back.manifest == hardest(number).manifest


def test_what_became_of_increments_comes_back() -> None:
    whole = answer(2)
    rows = (
        whole.disks[0].model_copy(update={"changed_bytes": 0, "compaction": "Compacted"}),
        whole.disks[1].model_copy(update={"compaction": "NotWorthIt"}),
    )
    back = Answer.from_message(whole.model_copy(update={"disks": rows}).to_message())
    assert [(disk.changed_bytes, disk.compaction) for disk in back.disks] == [(0, "Compacted"), (None, "NotWorthIt")]


def test_numbers_that_no_disk_has_become_the_largest() -> None:
    whole = hardest(64)
    odd = whole.disks[0].model_copy(update={"index": 1000, "key": 1 << 40, "stored_bytes": 1 << 60, "depth": 1000})
    back = Answer.from_message(whole.model_copy(update={"disks": (odd, *whole.disks[1:])}).to_message()).disks[0]
    assert (back.index, back.key, back.stored_bytes, back.depth) == (255, (1 << 32) - 1, (1 << 48) - 1, 255)


def test_more_disks_than_a_task_may_have_are_an_error() -> None:
    with pytest.raises(ValueError, match="65 disks"):
        hardest(65).to_message()


def test_what_unpacks_to_very_much_is_no_answer() -> None:
    for prefix in ("z:", "n:"):
        with pytest.raises(ValueError, match="more than"):
            Answer.from_message(prefix + base64.b85encode(zlib.compress(bytes(1 << 20))).decode())


def test_a_short_answer_can_be_read_by_a_person() -> None:
    text = Answer(outcome="Failed", reason="WritesLost", message="look at the disk").to_message()
    assert text == '{"outcome":"Failed","reason":"WritesLost","message":"look at the disk"}'


@given(st.text(max_size=30_000))
def test_any_message_fits_cut_where_it_must_be(text: str) -> None:
    failed = Answer(outcome="Failed", reason="Unexpected", message=text)
    packed = failed.to_message()
    assert len(packed.encode()) <= TERMINATION_MESSAGE_LIMIT
    back = Answer.from_message(packed)
    assert text.startswith(back.message)
    assert back.reason == "Unexpected"


def test_a_message_gives_way_to_the_disks() -> None:
    noise = random.Random(1).randbytes(8000).hex()
    back = Answer.from_message(answer(16, noise).to_message())
    assert back.disks == disks(16)
    assert len(back.message) > 100
    assert noise.startswith(back.message)


@pytest.mark.parametrize(
    "text",
    ["", "Killed", "{}", "n:", "n:" + base64.b85encode(zlib.compress(b'{"disks":{}}\nxx')).decode(),
     '{"outcome":"Perhaps"}', "z:", "z:@@@", "z:" + base64.b85encode(b"no zlib").decode(),
     "z:" + base64.b85encode(zlib.compress(b"[]")).decode()],
)  # fmt: skip
def test_what_is_no_answer_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # the text differs, the type is the contract
        Answer.from_message(text)


def test_fields_of_a_newer_worker_are_ignored() -> None:
    assert Answer.from_message('{"outcome":"Completed","speed":1}').outcome == "Completed"


def test_an_answer_that_is_nested_without_end_is_none() -> None:
    with pytest.raises(ValueError, match="answer"):
        Answer.from_message("z:" + compact_encoding.to_text(b"[" * 100_000))


def test_an_answer_for_more_disks_than_a_vm_may_have_is_none() -> None:
    reported = answer(1).model_copy(update={"disks": disks(MAX_DISKS + 1)})
    with pytest.raises(ValueError, match="at most 64"):
        Answer.from_message(reported.model_dump_json(by_alias=True))


def with_hardware(number: int, texts: str) -> Answer:
    cards = tuple(NetworkCard(network=f"{texts}{index}", mac_address="00:50:56:ab:00:01") for index in range(10))
    hardware = Hardware(processors=4, memory_bytes=8 << 30, network_cards=cards, datastores=(texts,) * number)
    return answer(number).model_copy(update={"hardware": hardware.shown()})


@pytest.mark.parametrize("number", [1, 8, 20])
def test_ordinary_hardware_fits(number: int) -> None:
    whole = with_hardware(number, "Production Network ")
    assert Answer.from_message(whole.to_message()) == whole


def test_hardware_that_does_not_fit_displaces_nothing() -> None:
    """The next catalogue has it; a change ID would only be in the manifest."""
    chance = random.Random(1)
    cards = tuple(
        NetworkCard(network="".join(chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(250))) for _ in range(32)
    )
    crowded = answer(8).model_copy(update={"hardware": Hardware(network_cards=cards)})
    message = crowded.to_message()
    assert len(message) <= TERMINATION_MESSAGE_LIMIT
    assert Answer.from_message(message) == answer(8)


def test_an_answer_of_an_earlier_version_has_no_hardware() -> None:
    assert Answer.from_message('{"outcome":"Completed"}').hardware is None
