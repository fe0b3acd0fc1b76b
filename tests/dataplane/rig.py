"""A repository and the workers that write to it, on this machine and with the real qemu."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from tests.dataplane.host import CHECKOUT, WAIT, free_ports, python_path, until
from tests.dataplane.vma import PASSWORD, Vma
from tests.dataplane.warm_workers import warm_workers

from sendense_operator.answer import Answer
from sendense_operator.consolidation_task import ConsolidationTask
from sendense_operator.restore_task import RestoreTask
from sendense_operator.task import CANCEL_PATH, BackupTask, ProbeTask, Progress, VerificationTask

Task = BackupTask | ProbeTask | VerificationTask | RestoreTask | ConsolidationTask


class Worker:
    """One running worker process."""

    def __init__(
        self,
        bench: Bench,
        task: Task,
        stop_at: int | None = None,
        path: str | None = None,
        **settings: Any,
    ) -> None:
        self.uid = str(uuid.uuid4())
        self.folder = bench.folder / self.uid
        self.folder.mkdir()
        # The worker removes them once it has read them.
        shutil.copytree(bench.credentials, self.folder / "credentials")
        (self.folder / "task.json").write_text(task.model_dump_json(by_alias=True))
        settings = {
            "pod_uid": self.uid,
            "pod_ip": "127.0.0.1",
            "node_ip": "127.0.0.1",
            "task_file": str(self.folder / "task.json"),
            "credentials_dir": str(self.folder / "credentials"),
            "ca_bundle": str(self.folder / "none"),
            "repository": str(bench.repository),
            "termination_file": str(self.folder / "answer"),
            "status_port": bench.status_port,
            "nbd_base_port": bench.nbd_port,
            "lock_wait": 2.0,
            **settings,
        }
        (self.folder / "settings.json").write_text(json.dumps(settings))
        modules = python_path("operator")
        environment = os.environ | {"PYTHONPATH": modules}
        environment |= {"PATH": path + os.pathsep + os.environ["PATH"]} if path else {}
        arguments = [str(self.folder / "settings.json")] + ([] if stop_at is None else [str(stop_at)])
        self.process = warm_workers(CHECKOUT, modules).start(arguments, environment, self.folder / "log")
        self._status = f"http://127.0.0.1:{bench.status_port}/v1/status"

    def wait(self, limit: float = WAIT) -> int:
        return self.process.wait(limit)

    def progress(self) -> Progress | None:
        try:
            return Progress.model_validate_json(httpx.get(self._status).content)
        except httpx.HTTPError:
            return None

    def until_copying(self, count: int = 1) -> Progress:
        """Wait until some bytes of a disk have arrived."""

        def some() -> Progress | None:
            progress = self.progress()
            return progress if progress and sum(disk.received_bytes for disk in progress.disks) >= count else None

        found: Progress = until(some, f"bytes; the log says:\n{self.log()}")
        return found

    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def answer(self) -> Answer:
        return Answer.from_message((self.folder / "answer").read_text())

    def stop(self) -> None:
        """End the worker and its qemu processes, whatever they do."""
        for process_id in self._children():
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        self.process.kill()
        self.process.wait(30)

    def _children(self) -> list[int]:
        """Processes of the worker's session but itself."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                # after the name in brackets: state, parent, group, session
                session = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
                if session == self.process.pid != int(folder.name):
                    found.append(int(folder.name))
        return found

    def cancel(self) -> None:
        """As the controller requests it."""
        assert httpx.post(self._status.replace("/v1/status", CANCEL_PATH)).status_code == 202

    def kill_nbd(self, index: int) -> None:
        """SIGKILL to the qemu-nbd of one disk."""
        name = f"{self.uid}-disk{index}"
        for process_id in self._children():
            if name in Path(f"/proc/{process_id}/cmdline").read_text():
                os.kill(process_id, signal.SIGKILL)


class Bench:
    """A repository that workers write to, and the VMA they use."""

    def __init__(self, folder: Path, vma: Vma) -> None:
        self.folder, self.vma = folder, vma
        self.repository, self.credentials = folder / "repository", folder / "credentials"
        for path in (self.repository, self.credentials):
            path.mkdir(parents=True)
        (self.credentials / "username").write_text("backup")
        (self.credentials / "password").write_text(PASSWORD)
        self.status_port = free_ports(18)
        self.nbd_port = self.status_port + 1
        self.workers: list[Worker] = []
        self.repository_id = str(uuid.uuid4())
        vma.call("PATCH", "settings", {"control_plane": f"http://127.0.0.1:{self.status_port}"})

    def start(
        self,
        task: Task,
        stop_at: int | None = None,
        path: str | None = None,
        **settings: Any,
    ) -> Worker:
        """Start a worker; `stop_at`: see run_worker, `path`: a folder of programs that come first."""
        worker = Worker(self, task, stop_at, path, **settings)
        self.workers.append(worker)
        return worker

    def run(self, task: Task, **options: Any) -> Answer:
        worker = self.start(task, **options)
        worker.wait()
        return worker.answer

    def probe(self) -> Answer:
        return self.run(ProbeTask(namespace="shop", repository="main", repository_uid=self.repository_id))

    def task(self, vm: dict[str, Any], **changes: Any) -> BackupTask:
        raw = {
            "namespace": "shop",
            "backup": "nightly",
            "backupUid": str(uuid.uuid4()),
            "vm": "db",
            "repositoryId": self.repository_id,
            "type": "Full",
            "exposure": "PodIP",
            "minFree": 0,
            "clocks": {"cancel": 12},
            "appliance": {"url": self.vma.url, "vcenterHost": "vc", "vmPath": vm["path"], "datacenter": "DC1"},
            "disks": [
                {"index": index, "key": disk["key"], "size": disk["size"], "port": self.nbd_port + index}
                for index, disk in enumerate(vm["disks"])
            ],
        }
        for name, value in changes.items():
            raw[name] = raw[name] | value if isinstance(raw.get(name), dict) else value
        return BackupTask.model_validate(raw)

    def files(self) -> set[str]:
        """Return what lies in the repository, but for the marker and locks."""
        return {
            str(path.relative_to(self.repository))
            for path in self.repository.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }

    def assert_identical(self, vm: dict[str, Any], answer: Answer) -> None:
        """Every layer reads as the disk it was made of."""
        assert len(answer.disks) == len(vm["disks"])
        for disk, source in zip(answer.disks, vm["disks"], strict=True):
            layer = self.repository / disk.file
            command = [
                "qemu-img",
                "compare",
                "-f",
                "raw",
                "-F",
                "qcow2",
                str(self.vma.disks / source["file"]),
                str(layer),
            ]
            compared = subprocess.run(command, check=False, capture_output=True, text=True)
            assert compared.returncode == 0, compared.stdout + compared.stderr

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()


@contextmanager
def initialised(folder: Path, vma: Vma) -> Iterator[Bench]:
    """A bench with a repository, in a new folder below `folder`."""
    bench = Bench(folder / "bench", vma)
    try:
        assert bench.probe().outcome == "Completed"
        yield bench
    finally:
        bench.close()
