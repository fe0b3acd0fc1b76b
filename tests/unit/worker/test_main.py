import json
from pathlib import Path

import pytest
from tests.unit.worker.support import UID, settings, task

from sendense_operator.answer import Answer
from sendense_operator.restore_task import RestoreDisk, RestoreTask
from sendense_operator.task import (
    BackupTask,
    ExitCode,
    FullReason,
    PointReference,
    ProbeTask,
    VerificationLevel,
    VerificationTask,
)
from sendense_operator.worker import main
from sendense_operator.worker.errors import FATAL, Reason, WorkerError, exit_code
from sendense_operator.worker.maintenance.repository_maintenance import run_probe


@pytest.mark.parametrize(
    ("outcome", "reason", "code"),
    [
        ("Completed", "", ExitCode.COMPLETED),
        ("Cancelled", Reason.TERMINATED, ExitCode.RETRY),
        ("Failed", Reason.DISKS_CHANGED, ExitCode.FATAL),
        ("Failed", Reason.VCENTER_REFUSED, ExitCode.FATAL),
        ("Failed", Reason.APPLIANCE_UNREACHABLE, ExitCode.RETRY),
        ("Failed", Reason.INTERNAL_ERROR, ExitCode.RETRY),
        ("Failed", "NoSignOfLife", ExitCode.RETRY),
        ("Failed", "WritesLost", ExitCode.RETRY),
    ],
)
def test_exit_codes(outcome: str, reason: str, code: ExitCode) -> None:
    assert exit_code(Answer.model_validate({"outcome": outcome, "reason": reason})) == code


def test_every_reason_is_camel_case() -> None:
    assert all(reason.isalpha() and reason[0].isupper() for reason in Reason)
    assert {*Reason, *FullReason} >= FATAL


def test_tasks_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    probe = ProbeTask(namespace="n", repository="r", repository_uid=UID)
    verification = VerificationTask(
        namespace="n",
        vm="db",
        chain="db",
        repository_id="r",
        level=VerificationLevel.CONTENT,
        points=(PointReference(backup="b1", backup_uid=UID),),
    )
    restore = RestoreTask(
        namespace="n",
        restore="back",
        restore_uid=UID,
        vm="db",
        repository_id="r",
        point=PointReference(backup="b1", backup_uid=UID),
        disks=(RestoreDisk(index=0, virtual_size=1 << 20, claim="data"),),
    )
    for one in (task(), probe, verification, restore):
        file.write_text(one.model_dump_json(by_alias=True))
        assert main.read_task(settings(task_file=file)) == one


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "can't be read"),
        ("[]", "none of"),
        ('{"kind": "x"}', "none of backup, probe, verification, restore"),
        ('{"kind": "probe"}', "field namespace"),
        (json.dumps(json.loads(task().model_dump_json(by_alias=True)) | {"disks": []}), "field disks"),
    ],
)
def test_a_bad_task_names_its_field(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "task.json"
    file.write_text(text)
    with pytest.raises(WorkerError, match=says) as caught:
        main.read_task(settings(task_file=file))
    assert caught.value.reason == Reason.BAD_TASK


async def test_a_probe_from_task_to_answer(tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    where = settings(
        task_file=tmp_path / "task.json", termination_file=tmp_path / "answer", repository=tmp_path / "repo"
    )
    where.task_file.write_text(
        ProbeTask(namespace="n", repository="r", repository_uid=UID).model_dump_json(by_alias=True)
    )
    assert await main.run(where) == ExitCode.COMPLETED
    answer = Answer.from_message(where.termination_file.read_text())
    assert (answer.outcome, answer.repository_id) == ("Completed", UID)
    assert answer.capacity is not None


async def test_a_verification_of_another_repository(tmp_path: Path) -> None:
    where = settings(
        task_file=tmp_path / "task.json", termination_file=tmp_path / "answer", repository=tmp_path, status_port=0
    )
    run_probe(where, ProbeTask(namespace="n", repository="r", repository_uid=UID))
    one = VerificationTask(
        namespace="n",
        vm="db",
        chain="db",
        repository_id="other",
        level=VerificationLevel.CONTENT,
        points=(PointReference(backup="b1", backup_uid=UID),),
    )
    where.task_file.write_text(one.model_dump_json(by_alias=True))
    assert await main.run(where) == ExitCode.FATAL
    answer = Answer.from_message(where.termination_file.read_text())
    assert (answer.outcome, answer.reason, answer.results) == ("Failed", Reason.REPOSITORY_CHANGED, "o")
    right = one.model_copy(update={"repository_id": UID})
    where.task_file.write_text(right.model_dump_json(by_alias=True))
    assert await main.run(where) == ExitCode.COMPLETED
    answer = Answer.from_message(where.termination_file.read_text())
    assert (answer.outcome, answer.results) == ("Completed", "g"), "nothing was found"
    outside = one.model_copy(update={"vm": "../other"})
    where.task_file.write_text(outside.model_dump_json(by_alias=True))
    assert await main.run(where) == ExitCode.FATAL
    assert Answer.from_message(where.termination_file.read_text()).reason == Reason.BAD_TASK


async def refused(tmp_path: Path, one: BackupTask) -> tuple[int, Answer]:
    repository, credentials = tmp_path / "repo", tmp_path / "credentials"
    for folder in (repository, credentials):
        folder.mkdir()
    (credentials / "username").write_text("u")
    (credentials / "password").write_text("canary")
    where = settings(
        task_file=tmp_path / "task.json",
        termination_file=tmp_path / "answer",
        repository=repository,
        credentials_dir=credentials,
        status_port=0,
    )
    where.task_file.write_text(one.model_dump_json(by_alias=True))
    code = await main.run(where)
    return code, Answer.from_message(where.termination_file.read_text())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, Reason.NOT_A_REPOSITORY),
        ({"vm": "../x"}, Reason.BAD_TASK),
        ({"backup": "a,b"}, Reason.BAD_TASK),
        ({"repository_path": "../x"}, Reason.BAD_TASK),
    ],
)
async def test_failures_become_answers(tmp_path: Path, changes: dict[str, str], reason: Reason) -> None:
    code, answer = await refused(tmp_path, task(**changes))
    assert (code, answer.outcome, answer.reason) == (ExitCode.FATAL, "Failed", reason)
    assert answer.message
    assert "canary" not in answer.message


async def test_a_fault_of_our_own_is_no_traceback_in_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> Answer:
        raise ZeroDivisionError("canary")

    monkeypatch.setattr(main, "run_backup", broken)
    code, answer = await refused(tmp_path, task())
    assert (code, answer.reason) == (ExitCode.RETRY, Reason.INTERNAL_ERROR)
    assert answer.message.startswith("ZeroDivisionError: ")
    assert "canary" not in answer.message
