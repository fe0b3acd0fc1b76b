"""A callback of the VMA, checked and ready to be passed on. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.worker_index import Worker
from sendense_operator.gateway.worker_directory import WorkerDirectory
from sendense_operator.object_key import ObjectKey
from sendense_operator.vma.callback_bodies import CallbackRefused, check_telemetry, parse_complete, parse_disk_id

_MAX_QUERY: Final = 8192
_MAX_FIELDS: Final = 16


@dataclass(frozen=True, slots=True)
class Call:
    """One callback: what is sent, and how its worker is found."""

    name: str
    """`changeid`, `complete` or `telemetry`."""
    appliance: str
    """NAMESPACE/NAME."""
    job: str
    """The job id, or for `changeid` the VM's key: fit for a log line."""
    method: str
    target: str
    """Path and query at the worker, as they came from the VMA."""
    body: bytes
    find: Callable[[WorkerDirectory], Worker | None]
    best_effort: bool = False
    """Not held, sent once, and with a time-out: nothing depends on it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Which job a call is about, as far as it says so."""

    uid: str = ""
    """Of the worker's pod."""
    vm_key: str = ""


def subject_of_query(query: bytes) -> Subject:
    """From a change-ID request's raw query. Raises CallbackRefused (400)."""
    return Subject(vm_key=names.vm_key(_single(_query(query), "vm_name")))


def subject_of_job(job_id: str) -> Subject:
    """From a job ID. Raises CallbackRefused (404) for one that can't be ours."""
    uid = names.pod_uid_of_job(job_id)
    if uid is None:
        raise CallbackRefused(404, "job_id: no such job")
    return Subject(uid=uid)


def build_changeid(namespace: str, appliance: str, query: bytes) -> Call:
    """From a request's raw query. Raises CallbackRefused (404, 400)."""
    _check_appliance(namespace, appliance)
    fields = _query(query)
    vm_name, disk_id = (_single(fields, name) for name in ("vm_name", "disk_id"))
    parse_disk_id(disk_id)
    if not vm_name:
        raise CallbackRefused(400, "vm_name: empty")
    # The VMA sends the path's last element, query-escaped: decoded once it is the text that the label was made of.
    key = names.vm_key(vm_name)
    return Call(
        name="changeid",
        appliance=str(ObjectKey(namespace, appliance)),
        job=f"vm-{key}",
        method="GET",
        target="/api/v1/backups/changeid?" + query.decode("ascii"),
        body=b"",
        find=lambda directory: directory.find_by_vm(namespace, appliance, key),
    )


def build_complete(namespace: str, appliance: str, job_id: str, body: bytes) -> Call:
    """From a `complete`. Raises CallbackRefused (404, 413, 400)."""
    uid = check_job(namespace, appliance, job_id)
    parse_complete(body)
    return Call(
        name="complete",
        appliance=str(ObjectKey(namespace, appliance)),
        job=job_id,
        method="POST",
        target=f"/api/v1/backups/{job_id}/complete",
        body=body,
        find=lambda directory: directory.find_by_pod_uid(namespace, appliance, uid),
    )


def build_telemetry(namespace: str, appliance: str, job_id: str, body: bytes) -> Call:
    """From a telemetry report. Raises CallbackRefused (404, 413, 400)."""
    uid = check_job(namespace, appliance, job_id)
    check_telemetry(body)
    return Call(
        name="telemetry",
        appliance=str(ObjectKey(namespace, appliance)),
        job=job_id,
        method="POST",
        target=f"/api/v1/telemetry/backup/{job_id}",
        body=body,
        find=lambda directory: directory.find_by_pod_uid(namespace, appliance, uid),
        best_effort=True,
    )


def check_job(namespace: str, appliance: str, job_id: str) -> str:
    """Return the pod UID of a job id. Raises CallbackRefused (404) for names that can't be ours."""
    _check_appliance(namespace, appliance)
    uid = names.pod_uid_of_job(job_id)
    if uid is None:
        raise CallbackRefused(404, "job_id: no such job")
    return uid


def _check_appliance(namespace: str, appliance: str) -> None:
    if not (names.is_object_name(namespace) and names.is_object_name(appliance)):
        raise CallbackRefused(404, "no such appliance")


def _query(query: bytes) -> list[tuple[str, str]]:
    try:
        if len(query) > _MAX_QUERY:
            raise ValueError
        return parse_qsl(
            query.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="surrogateescape"
        )
    except ValueError:
        raise CallbackRefused(400, "query: too long or malformed") from None


def _single(fields: list[tuple[str, str]], name: str) -> str:
    values = [value for key, value in fields if key == name]
    if len(values) != 1:
        raise CallbackRefused(400, f"{name}: must be given once")
    return values[0]
