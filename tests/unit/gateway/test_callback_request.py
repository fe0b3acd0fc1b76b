from typing import cast
from urllib.parse import quote_plus

import pytest

from sendense_operator.api.v1alpha1 import names
from sendense_operator.gateway.callback_request import build_changeid, build_complete, build_telemetry
from sendense_operator.gateway.worker_directory import WorkerDirectory
from sendense_operator.vma.callback_bodies import CallbackRefused

UID = "0b6f6b0e-6c2b-4b1c-9a53-0f7d2a1c9e11"
JOB = f"backup-{UID}"
COMPLETE = b'{"change_id": "a/1", "disk_id": 0, "bytes_transferred": 0}'


class Recorder:
    """Notes how it was asked."""

    def find_by_vm(self, *key: str) -> None:
        self.key = key

    def find_by_pod_uid(self, *key: str) -> None:
        self.key = key


def key_of(find: object) -> tuple[str, ...]:
    recorder = Recorder()
    assert callable(find)
    find(cast(WorkerDirectory, recorder))
    return recorder.key


@pytest.mark.parametrize(
    "path",
    [
        "/DC1/vm/pgtest1",
        "/DC1/vm/a b",
        "/DC1/vm/a%2fb",
        "/DC1/vm/ä&=+?#;'\"",
        "/DC1/vm/..",
        "/DC1/vm/x-disk1-",
        "/DC1/vm/json:{}\n",
        "/DC1/vm/" + "ü" * 127,
        "/DC1/vm/ ",
    ],
)
def test_changeid_finds_by_the_label_of_the_path(path: str) -> None:
    name = names.last_path_element(path)
    query = f"vm_name={quote_plus(name)}&disk_id=0".encode()
    call = build_changeid("shop", "vma", query)
    assert key_of(call.find) == ("shop", "vma", names.vm_key(name))
    assert call.target == "/api/v1/backups/changeid?" + query.decode()
    assert (call.method, call.body, call.best_effort) == ("GET", b"", False)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (b"", 400),
        (b"vm_name=x", 400),
        (b"disk_id=0", 400),
        (b"vm_name=&disk_id=0", 400),
        (b"vm_name=x&disk_id=", 400),
        (b"vm_name=x&disk_id=-1", 400),
        (b"vm_name=x&vm_name=y&disk_id=0", 400),
        (b"vm_name=x&disk_id=0&disk_id=1", 400),
        (b"vm_name=\xff&disk_id=0", 400),
        (b"vm_name=" + b"x" * 9000 + b"&disk_id=0", 400),
        (b"&".join(b"a=1" for _ in range(50)), 400),
    ],
)
def test_refused_changeid(query: bytes, status: int) -> None:
    with pytest.raises(CallbackRefused) as caught:
        build_changeid("shop", "vma", query)
    assert caught.value.status == status


def test_complete_and_telemetry_find_by_pod_uid() -> None:
    complete = build_complete("shop", "vma", JOB, COMPLETE)
    telemetry = build_telemetry("shop", "vma", JOB, b"{}")
    assert key_of(complete.find) == key_of(telemetry.find) == ("shop", "vma", UID)
    assert complete.target == f"/api/v1/backups/{JOB}/complete"
    assert telemetry.target == f"/api/v1/telemetry/backup/{JOB}"
    assert (complete.body, complete.best_effort, telemetry.best_effort) == (COMPLETE, False, True)


@pytest.mark.parametrize(
    ("namespace", "appliance", "job", "body", "status"),
    [
        ("Shop", "vma", JOB, COMPLETE, 404),
        ("..", "vma", JOB, COMPLETE, 404),
        ("shop", "v_a", JOB, COMPLETE, 404),
        ("shop", "vma", "backup-1", COMPLETE, 404),
        ("shop", "vma", UID, COMPLETE, 404),
        ("shop", "vma", JOB.upper(), COMPLETE, 404),
        ("shop", "vma", JOB + "\n", COMPLETE, 404),
        ("shop", "vma", JOB, b"{}", 400),
        ("shop", "vma", JOB, b"x" * 70000, 413),
    ],
)
def test_refused_complete(namespace: str, appliance: str, job: str, body: bytes, status: int) -> None:
    with pytest.raises(CallbackRefused) as caught:
        build_complete(namespace, appliance, job, body)
    assert caught.value.status == status
