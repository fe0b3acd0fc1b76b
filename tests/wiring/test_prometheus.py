"""A real Prometheus with the rules as shipped scrapes two real controllers; the API server is one in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
import yaml
from hack.bench.fullrepository import FullRepository
from hack.bench.manypoints import running_controller
from tests.support import sample
from tests.support.local_programs import eventually, free_port
from tests.support.monitoring import RULES, prometheus_command, queries
from tests.support.objects import Obj

from sendense_operator.cluster import kinds

COUNT: Final = 100
"""Restore points, one per VM."""
EMPTY: Final = frozenset(
    {"Chains E", "What Backups wait for A", "Longest wait A", "Calls of the controller A", "Failed reconciles A"}
)
"""Panels that have nothing to show when nothing waits, fails or is verified."""


class Prometheus:
    """A running one."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def query(self, query: str) -> list[Obj]:
        """Return the series that a query finds. Raises httpx.HTTPError."""
        answer = await self._http.get("/api/v1/query", params={"query": query})
        found: list[Obj] = answer.raise_for_status().json()["data"]["result"]
        return found

    async def alerts(self) -> set[tuple[str, str]]:
        """Return name and object of the alerts that are pending or firing. Raises httpx.HTTPError."""
        answer = await self._http.get("/api/v1/alerts")
        found = answer.raise_for_status().json()["data"]["alerts"]
        return {(alert["labels"]["alertname"], alert["labels"].get("name", "")) for alert in found}


@asynccontextmanager
async def prometheus(folder: Path, targets: Iterable[str]) -> AsyncIterator[Prometheus]:
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": "controller", "honor_labels": True, "static_configs": [{"targets": list(targets)}]}
        ],
    }
    file = folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [prometheus_command("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            yield Prometheus(http)
    finally:
        process.terminate()
        await process.wait()


def full_api() -> FullRepository:
    api = FullRepository()
    api.fill(COUNT)
    for name in ("vm0", "never"):
        api.put(kinds.PROTECTED_VM, sample.protected_vm(name))
    api.put(kinds.APPLIANCE, sample.appliance())
    spec = {
        "vmRefs": [{"name": "vm0"}, {"name": "never"}],
        "repositoryRef": {"name": "store"},
        "objective": {"maxAgeSeconds": 3600},
    }
    api.put(kinds.BACKUP_POLICY, sample.custom("BackupPolicy", "daily", spec))
    return api


@pytest.mark.timeout(300)
async def test_a_real_prometheus_scrapes_two_controllers(tmp_path: Path) -> None:
    prometheus_command("prometheus")
    api = full_api()
    async with (
        api.serving() as url,
        running_controller(url) as one,
        running_controller(url) as two,
        prometheus(tmp_path, (program.http.base_url.netloc.decode() for program in (one, two))) as scraper,
    ):

        async def both_are_up() -> bool:
            return len(await scraper.query("up == 1")) == 2

        async def has_all_points() -> bool:
            found = await scraper.query('sum(sendense_backups{phase="Completed"})')
            return bool(found) and float(found[0]["value"][1]) == COUNT

        async def raises_alerts() -> bool:
            return {("SendenseRestorePointTooOld", "vm0"), ("SendenseNeverBackedUp", "never")} <= await scraper.alerts()

        await eventually(both_are_up, 120)
        await eventually(has_all_points, 120)
        await eventually(raises_alerts)
        leading = await scraper.query("sendense_leading")
        assert sorted(float(series["value"][1]) for series in leading) == [0, 1]
        states = await scraper.query('count by (instance) ({__name__=~"sendense_(protectedvm|backup|vmware).*"})')
        assert len(states) == 1, "only the leader has series of objects"
        assert states[0]["metric"]["instance"] in {s["metric"]["instance"] for s in leading if s["value"][1] == "1"}
        shown = [query for where, query in queries() if not where.startswith("Sendense") and where not in EMPTY]

        async def each_panel_has_data() -> bool:
            return all([await scraper.query(query) for query in shown])

        await eventually(each_panel_has_data)  # a rate needs two samples
