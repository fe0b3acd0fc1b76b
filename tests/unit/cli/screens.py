"""The screens of docs/guide/command-line.md, made by running the commands: `python -m tests.unit.cli.screens`.

A screen follows the comment that names its command, as a fenced block.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from tests.support import sample
from tests.support.kube import CHECKOUT
from tests.support.objects import Obj
from tests.unit.cli.conftest import command_line
from tests.unit.cli.fakeapi import FakeApi, running

from sendense_operator.cli import screen, waits

PAGE: Final = CHECKOUT / "docs" / "guide" / "command-line.md"
WIDTH: Final = 80
_SCREEN: Final = re.compile(r"(<!-- screen: sendense (.+?) -->\n\n)```\n.*?```", re.DOTALL)
_GIB: Final = 1 << 30
_NAME: Final = re.compile(r"(\w+)-\d{8}-\d{6}-[a-z0-9]{5}")


def with_screens(page: str) -> str:
    """Return the page with current screens."""
    return _SCREEN.sub(lambda found: f"{found[1]}```\n{_screen(found[2])}```", page)


def _screen(command: str) -> str:
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    before = screen._PIPE_WIDTH, waits.POLL_S
    screen._PIPE_WIDTH, waits.POLL_S = WIDTH, 0.001  # type: ignore[misc]
    try:
        with running() as api, tempfile.TemporaryDirectory() as folder:
            _fill(api)
            done = command_line(api, Path(folder) / "kubeconfig").run(*command.split(), given="y\n")
    finally:
        screen._PIPE_WIDTH, waits.POLL_S = before  # type: ignore[misc]
    shown = _NAME.sub(r"\1-20261128-060000-k3x9q", done.err + done.out)
    shown = shown.replace("[y/N] ", "[y/N] y\n")  # what somebody types
    return f"$ kubectl sendense {command}\n" + "".join(f"{line.rstrip()}\n" for line in shown.splitlines())


def _fill(api: FakeApi) -> None:
    """A namespace on the morning after a bad night, at 7 o'clock in Berlin."""
    api.date = "Sat, 28 Nov 2026 06:00:00 GMT"
    _add_vms(api)
    _add_storage(api)
    _add_backups(api)
    for name in ("controller", "gateway"):
        labels = {"app.kubernetes.io/name": "sendense-backup", "app.kubernetes.io/component": name,
                  "app.kubernetes.io/version": "0.1.0"}  # fmt: skip
        meta = {"namespace": "sendense-system", "name": f"sendense-backup-{name}", "labels": labels}
        deployment = {"metadata": meta, "spec": {"replicas": 1}, "status": {"readyReplicas": 1}}
        api.put({"apiVersion": "apps/v1", "kind": "Deployment", **deployment}, "deployments")


def _vm(name: str, reason: str, message: str = "", **status: Any) -> Obj:
    found = sample.ready_status("Found", vmName=name.upper(), powerState="poweredOn", **status)
    protected = "True" if reason == "WithinObjective" else "False"
    found["conditions"].append(sample.condition("Protected", reason, message, status=protected))
    return sample.protected_vm(name, found)


def _add_vms(api: FakeApi) -> None:
    night = {"policy": "nightly", "nextTime": "2026-11-29T00:00:00Z", "size": "64.0 GiB"}
    api.put(_vm("db01", "WithinObjective", latestTime="2026-11-28T00:00:40Z", disks=[{}, {}], **night))
    api.put(_vm("web01", "WithinObjective", latestTime="2026-11-28T00:04:10Z", disks=[{}], **night))
    api.put(_vm("mail01", "TooOld", "mail01-1 is older than 26h allows", latestTime="2026-11-26T00:02:00Z",
                disks=[{}], **night))  # fmt: skip


def _add_storage(api: FakeApi) -> None:
    capacity = {"totalBytes": 2000 * _GIB, "freeBytes": 740 * _GIB}
    catalogue = {"time": "2026-11-28T03:00:00Z"}
    api.put(sample.repository("main", sample.ready_status("Fine", capacity=capacity, points=9, catalogue=catalogue)))
    status = sample.ready_status("Reachable", callbackURL="https://gateway.example/x", lastContactTime=sample.stamp())
    api.put(sample.appliance("vma-dc1", status))
    next_time = "2026-11-29T00:00:00Z"
    schedules = [{"name": "night", "nextTime": next_time, "slot": "2026-11-28T00:00:00Z"}]
    policy = sample.ready_status(
        "Fine", vms=3, nextTime=next_time, objective={"summary": "2 of 3"}, schedules=schedules,
        retention={"restorePoints": 9, "expired": 1},
    )  # fmt: skip
    spec = {"repositoryRef": {"name": "main"}, "retention": {"keepDaily": 7},
            "schedules": [{"name": "night", "cron": "0 1 * * *", "timeZone": "Europe/Berlin"}]}  # fmt: skip
    api.put(sample.custom("BackupPolicy", "nightly", spec, policy))


def _point(name: str, day: int, size: int, *, depth: int, full: str = "db01-1", **more: Any) -> Obj:
    kind = "Full" if depth == 1 else "Incremental"
    return {"backup": name, "time": f"2026-11-{day}T00:12:00Z", "type": kind, "full": full, "depth": depth,
            "storedBytes": size * _GIB, "state": "Available", **more}  # fmt: skip


def _add_backups(api: FakeApi) -> None:
    points = [
        _point("db01-1", 25, 41, depth=1, expiredSince="2026-11-28T00:00:00Z", heldBy="DryRun"),
        _point("db01-3", 27, 2, depth=3, keptBy=["Daily"]),
        _point("db01-4", 28, 1, depth=4, keptBy=["Last", "Daily"]),
    ]
    removed = {"backup": "db01-2", "full": "db01-1", "storedBytes": 3 * _GIB, "state": "Needed", "neededBy": "db01-3",
               "since": "2026-11-27T09:00:00Z"}  # fmt: skip
    status = {"points": 3, "storedBytes": 47 * _GIB, "depth": 4, "policy": "nightly", "restorePoints": points,
              "removed": [removed], "next": {"type": "Incremental"}}  # fmt: skip
    spec = {"vmRef": {"name": "db01"}, "repositoryRef": {"name": "main"}}
    api.put(sample.custom("BackupChain", "db01-main-4e8212b9", spec, status))
    parents = {"db01-3": "db01-2", "db01-4": "db01-3"}
    for point in points:
        api.put(_backup(point, parents.get(point["backup"])))
    failed = sample.ready_status("ApplianceUnreachable", status="False", message="vma-dc1: no answer", phase="Failed")
    made = sample.backup("mail01-2", {**failed, "type": "Incremental"}, vm="mail01", repositoryRef={"name": "main"})
    made["metadata"]["creationTimestamp"] = "2026-11-28T00:00:00Z"
    made["status"]["completionTime"] = "2026-11-28T00:01:00Z"
    api.put(made)


def _backup(point: Obj, parent: str | None) -> Obj:
    name, size, kind = point["backup"], point["storedBytes"], point["type"]
    stem = "full" if kind == "Full" else "incr"
    disks = [
        {"id": index, "type": kind, "storedBytes": part, "virtualSize": 32 * _GIB,
         "file": f"shop/db01/disk-{index}/{stem}-{point['time'][:10].replace('-', '')}-000000.qcow2",
         **({"parent": parent} if parent else {})}
        for index, part in enumerate((size * 3 // 4, size // 4))
    ]  # fmt: skip
    stored = f"{size // _GIB}.0 GiB"
    status = {"phase": "Completed", "type": kind, "disks": disks, "stored": stored, "storedBytes": size,
              "manifest": "m", "completionTime": point["time"], "progress": {"summary": "100%"}}  # fmt: skip
    made = sample.backup(name, status, vm="db01", repositoryRef={"name": "main"}, type="Auto")
    made["metadata"]["creationTimestamp"] = point["time"].replace(":12:", ":00:")
    return made


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(with_screens(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
