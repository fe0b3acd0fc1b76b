"""REST as it is served: the program, real sockets, TLS, and an API server that is late, goes away and comes back."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tests.support.local_programs import eventually, free_port, write_kubeconfig
from tests.support.waiting import comes_true
from tests.unit.gateway import program
from tests.unit.gateway.certificates import HOST, Authority, put
from tests.unit.gateway.program import Program
from tests.unit.gateway.rest.kubeapi import KubeApi, running_kube_api
from tests.unit.gateway.rest.rig import NAMESPACE, backup, vm

LIST = "/api/v1/backup/list"
START = {"vm_name": "DB 01", "backup_type": "full", "repository_id": "main"}
JANE = {"Authorization": "Bearer jane-token"}


@dataclass
class Rig:
    api: KubeApi
    tls: Path
    rest: int
    metrics: int
    program: Program

    async def ready(self, authority: Authority) -> bool:
        """Return whether the pod gets traffic. `authority`: of the certificate."""
        return (await self.ask(authority, "/readyz")).status_code == 200

    async def ask(self, authority: Authority, path: str = LIST, method: str = "GET", **options: Any) -> httpx.Response:
        """Call REST on a new connection. Raises httpx.HTTPError: when the certificate is not that authority's, too."""
        async with httpx.AsyncClient(verify=authority.trust(), trust_env=False, timeout=20) as http:
            return await http.request(method, f"https://{HOST}:{self.rest}{path}", headers=JANE, **options)

    async def listed(self, authority: Authority) -> set[str]:
        """Ids of the backups; none while the list is refused."""
        answer = await self.ask(authority)
        return {one["backup_id"] for one in answer.json()["backups"]} if answer.is_success else set()

    async def refuses(self) -> bool:
        """Return whether nobody listens on REST's port."""
        try:
            _, writer = await asyncio.open_connection(HOST, self.rest)
        except ConnectionError:
            return True
        writer.close()
        return False


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Rig]:
    """The program, with nothing in its TLS folder, and an API server that holds the first lists back."""
    tls, rest, metrics = folder / "tls", free_port(), free_port()
    tls.mkdir()
    async with running_kube_api() as api:
        api.put("backups", backup())
        api.put("protectedvms", vm())
        api.put("backuprepositories", {"metadata": {"namespace": NAMESPACE, "name": "main"}})
        settings = {
            "REST_PORT": rest, "REST_NAMESPACE": NAMESPACE, "REST_TLS_FOLDER": tls,
            "REST_METRICS_PORT": metrics,
            "REST_REVIEW_SECONDS": 0, "DRAIN_SECONDS": 0.1,
        }  # fmt: skip
        environment = {f"SENDENSE_{name}": str(value) for name, value in settings.items()}
        environment["KUBECONFIG"] = str(write_kubeconfig(folder / "config", api.url))
        async with program.running(folder, environment, program.REST) as started:
            yield Rig(api, tls, rest, metrics, started)


async def test_from_the_first_list_to_the_end(tmp_path: Path) -> None:
    first, second = Authority(), Authority()
    async with running(tmp_path) as rig:
        put(rig.tls, *first.issue())
        await eventually(lambda: rig.ask(first, "/healthz"))
        early = await rig.ask(first)
        assert (early.status_code, early.headers["retry-after"]) == (503, "5")
        assert not await rig.ready(first)
        rig.api.listing.set()
        await eventually(lambda: rig.ready(first))
        assert await rig.listed(first) == {backup()["metadata"]["name"]}
        rig.api.put("backups", backup("younger"))
        await eventually(lambda: _has(rig, first, "younger"))

        made = (await rig.ask(first, "/api/v1/backup/start", "POST", json=START)).json()
        assert made["backup_id"] in await rig.listed(first), "its own replica has seen it"
        gone = await rig.ask(first, f"/api/v1/backup/{made['backup_id']}", "DELETE")
        assert (gone.status_code, gone.json()["status"]) == (200, "deleted")
        assert rig.api.writes == [(method, "backups", JANE["Authorization"]) for method in ("POST", "DELETE")]

        put(rig.tls, *second.issue())
        await eventually(lambda: _has(rig, second, "younger"))

        await rig.api.go()
        away = await rig.ask(second)
        assert (away.status_code, away.headers["retry-after"]) == (503, "5")
        rig.api.put("backups", backup("meanwhile"))
        await rig.api.come()
        await eventually(lambda: _has(rig, second, "meanwhile"))

        code, log = await rig.program.terminate()
        assert code == 0, log
        lines = [json.loads(line) for line in log.splitlines()]
        assert ("start", "POST", "jane") in [
            (line.get("audit"), line.get("method"), line.get("user")) for line in lines
        ]
        assert "jane-token" not in log


async def _has(rig: Rig, authority: Authority, name: str) -> bool:
    return name in await rig.listed(authority)


async def test_it_waits_for_a_certificate_that_fits(tmp_path: Path) -> None:
    authority = Authority()
    (certificate, _), (_, other_key) = authority.issue(), authority.issue()
    async with running(tmp_path) as rig:
        rig.api.listing.set()
        await eventually(rig.refuses)
        put(rig.tls, certificate, other_key)
        await comes_true(lambda: "key values mismatch" in rig.program.log, 30)
        assert await rig.refuses()
        put(rig.tls, *authority.issue())
        await eventually(lambda: rig.listed(authority))
        code, log = await rig.program.terminate()
        assert code == 0, log
