"""What a gateway keeps of calls that reach no worker, and whom it tells."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest
from tests.support.callbackkeys import FixedKeys
from tests.unit.gateway.rig import BASE, COMPLETE, JOB, WORKER, base_of, running_rig

from sendense_operator.gateway.appliances import ApplianceRecord
from sendense_operator.gateway.caller_check import Origin
from sendense_operator.gateway.gateway_status import create_status_app
from sendense_operator.gateway.unrouted_recorder import CALL_KEPT_S, PAUSE_S, UnroutedRecorder
from sendense_operator.vma.sightings import (
    MAX_ANSWER,
    MAX_STRAY_CALLS,
    MAX_STRAY_JOBS,
    MAX_STRAY_JOBS_PER_APPLIANCE,
    PATH,
    Sightings,
    reader_token,
)

CHANGEID = "/backups/changeid?vm_name=pg%20test&disk_id=0"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_ages() -> None:
    clock = Clock()
    sighted = UnroutedRecorder(clock)
    for seconds in (0, 5, 5):
        clock.now += seconds
        sighted.stray_telemetry("shop", "vma", JOB)
    clock.now += 2
    (job,) = sighted.report().jobs
    assert (job.namespace, job.appliance, job.job, job.first, job.last) == ("shop", "vma", JOB, 12, 2)
    clock.now += PAUSE_S
    assert sighted.report().jobs == ()
    sighted.stray_telemetry("shop", "vma", JOB)
    assert sighted.report().jobs[0].first == 0, "begun anew"
    sighted.known_job("shop", "vma", JOB)
    assert sighted.report().jobs == ()


def test_bounds() -> None:
    """However much comes: one appliance takes no place from others, and the answer stays below its limit."""
    clock = Clock()
    sighted = UnroutedRecorder(clock)
    sighted.stray_telemetry("shop", "quiet", JOB)
    for number in range(2000):
        sighted.stray_telemetry("shop", "noisy", f"backup-{number}")
    assert [job for job in sighted.report().jobs if job.appliance == "quiet"]
    assert len(sighted.report().jobs) == 1 + MAX_STRAY_JOBS_PER_APPLIANCE
    for number in range(2000):
        sighted.stray_telemetry("n" * 63, f"{number:063}", "b" * 43)
        sighted.stray_call(replace(WORKER, uid="u" * 36), Origin("x" * 500, f"{number:0500}", "", ""), "WrongPath")
    report = sighted.report()
    assert (len(report.jobs), len(report.calls)) == (MAX_STRAY_JOBS, MAX_STRAY_CALLS)
    assert len(report.model_dump_json()) < MAX_ANSWER
    clock.now += CALL_KEPT_S + 1
    assert sighted.report() == Sightings()


async def test_only_who_has_the_key_gets_an_answer() -> None:
    sighted, keys = UnroutedRecorder(), FixedKeys(b"k" * 32, b"p" * 32)
    sighted.stray_telemetry("shop", "vma", JOB)
    app = create_status_app(sighted, keys)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:
        for key, status in ((b"k" * 32, 200), (b"p" * 32, 200), (b"x" * 32, 401)):
            got = await http.get(PATH, headers={"Authorization": f"Bearer {reader_token(key)}"})
            assert got.status_code == status
            assert (JOB in got.text) is (status == 200)
        assert (await http.get(PATH)).status_code == 401


async def test_telemetry_of_a_job_without_a_worker() -> None:
    async with running_rig() as rig:
        path = f"{BASE}/telemetry/backup/{JOB}"
        rig.directory.synced = False
        await rig.http.post(path, json={})
        assert rig.sighted.report().jobs == (), "who does not see the cluster knows nothing"
        rig.directory.synced = True
        await rig.http.post(path, json={})
        (job,) = rig.sighted.report().jobs
        assert (job.namespace, job.appliance, job.job) == ("shop", "vma", JOB)
        rig.directory.put(WORKER)
        assert (await rig.http.post(path, json={})).status_code == 200
        assert rig.sighted.report().jobs == ()
        rig.directory.put(replace(WORKER, ended=True, running=False))
        await rig.http.post(path, json={})
        assert rig.sighted.report().jobs


@pytest.mark.parametrize(("terminating", "counts"), [(True, 1), (False, 0)])
async def test_telemetry_of_a_worker_on_a_lost_node(terminating: bool, counts: int) -> None:
    async with running_rig(stub_up=False) as rig:
        rig.directory.put(replace(WORKER, terminating=terminating))
        assert (await rig.http.post(f"{BASE}/telemetry/backup/{JOB}", json={})).status_code == 502
        assert len(rig.sighted.report().jobs) == counts


async def test_calls_at_another_objects_path() -> None:
    """At once, while the call is still held."""
    async with running_rig(hold_s=0.05) as rig:
        rig.appliances.put(ApplianceRecord("2", "shop", "other"))
        rig.directory.put(WORKER)
        await rig.changeid()
        await rig.complete()
        assert rig.sighted.report().calls == (), "these went where they belong"
        for call in (
            rig.http.get(base_of("shop", "other") + CHANGEID),
            rig.http.post(f"{base_of('shop', 'other')}/backups/{JOB}/complete", json=COMPLETE),
        ):
            await call
            (seen,) = rig.sighted.report().calls
            assert (seen.namespace, seen.appliance, seen.pod_uid) == ("shop", "vma", WORKER.uid)
            assert (seen.path_appliance, seen.denial) == ("other", "")


async def test_a_vm_of_the_same_name_on_two_appliances_is_not_astray() -> None:
    async with running_rig() as rig:
        rig.appliances.put(ApplianceRecord("2", "shop", "other"))
        rig.directory.put(WORKER)
        rig.directory.put(replace(WORKER, uid="second", appliance="other"))
        assert (await rig.http.get(base_of("shop", "other") + CHANGEID)).status_code == 200
        assert rig.sighted.report().calls == ()


@pytest.mark.parametrize(
    ("base", "denial"),
    [
        ("/appliances/shop/vma/api/v1", "BarePath"),
        (f"{BASE.removesuffix('/api/v1')}x/api/v1", "WrongPath"),
        ("/appliances/no/body/api/v1", "BarePath"),
    ],
)
async def test_calls_of_a_running_job_at_a_path_that_is_turned_away(base: str, denial: str) -> None:
    async with running_rig() as rig:
        rig.directory.put(WORKER)
        assert (await rig.http.get(base + CHANGEID)).status_code == 404
        assert [call.denial for call in rig.sighted.report().calls] == [denial]
        assert rig.stub.seen == []


async def test_calls_of_nobodys_job_leave_no_trace() -> None:
    async with running_rig() as rig:
        await rig.http.get("/appliances/shop/vma/api/v1" + CHANGEID)
        await rig.http.get("/appliances/shop/vma/api/v1/backups/changeid?vm_name=")
        await rig.http.post(f"/appliances/shop/vma/api/v1/backups/{JOB}/complete", content=b"x")
        assert rig.sighted.report() == Sightings()
