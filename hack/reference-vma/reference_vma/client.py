"""The client process of one job: `python -m reference_vma.client`, the job as one JSON line on standard input.

Standard input stays open: later lines are commands of the control API, its end means that the appliance stopped.
Standard output carries JSON lines for the server: progress and log entries.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final, TextIO

from reference_vma import snapshot as snapshots
from reference_vma.callbacks import ControlPlane, Report
from reference_vma.cbt import Area, ChangeIdRefusedError, merge_areas
from reference_vma.copy import CopyFailedError, DiskCopy
from reference_vma.exports import Export, ExportError
from reference_vma.gate import Gate
from reference_vma.meter import Meter, full_total
from reference_vma.plan import plan_full
from reference_vma.spec import JobSpec
from reference_vma.targets import TargetError, parse_targets, parse_url

_SMALL_REQUEST: Final = 256 << 10
FULL: Final = "full"
INCREMENTAL: Final = "incremental"


class JobEndedError(Exception):
    """The job ends here, in silence."""


def parse_change_id(text: str) -> tuple[str, str] | None:
    """`X/Y` in its parts; None for anything else."""
    parts = text.split("/")
    return (parts[0], parts[1]) if len(parts) == 2 else None


class Reporter:
    """Writes JSON lines for the server."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def __call__(self, kind: str, **fields: Any) -> None:
        """One log entry or progress report."""
        with self._lock:
            self._out.write(json.dumps({"kind": kind, **fields}) + "\n")
            self._out.flush()


class Job:
    """One backup of one VM, disk after disk."""

    def __init__(self, spec: JobSpec, report: Report) -> None:
        self.spec = spec
        self.report = report
        again = spec.retry_seconds if spec.callbacks == "repeated" else None
        self.control_plane = ControlPlane(spec.control_plane, spec.job_id, report, again)
        self.meter = Meter(self.control_plane, report, spec.telemetry_seconds)
        self.gate = Gate(spec, report)
        self._exports: list[Export] = []  # idle connections stay open until the process ends
        self._snapshot: snapshots.Snapshot | None = None

    def run(self) -> None:
        """The whole job. Raises JobEndedError."""
        if self.spec.doomed or self.spec.fault("silent"):
            raise JobEndedError(self.spec.doomed or "configured to be silent")
        if self.spec.fault("hang"):
            self.report("event", event="hanging")
            threading.Event().wait()
        self.meter.creating_snapshot()
        self._delete_snapshots()
        self._snapshot = self._create_snapshot()
        self.gate.on_deadlock = self._snapshot.abandon
        if not self.spec.fault("no-telemetry"):
            self.meter.start_telemetry()
        try:
            for index in range(len(self.spec.disks)):
                self._check_partial(index)
                self._copy_disk(index)
        except (TargetError, ExportError, CopyFailedError, ChangeIdRefusedError, snapshots.SnapshotGoneError) as error:
            raise JobEndedError(str(error)) from error
        finally:
            removed = self._snapshot.remove()
            self.report("event", event="snapshot_removed", removed=removed, name=self._snapshot.folder.name)

    def _delete_snapshots(self) -> None:
        for victim, name in snapshots.delete_all(Path(self.spec.scratch_dir), self.spec.vm_uuid):
            self.report("event", event="snapshot_deleted_under_job", victim=victim, name=name)

    def _create_snapshot(self) -> snapshots.Snapshot:
        slow = self.spec.fault("slow-snapshot")
        if slow:
            time.sleep(slow.seconds)
        started = time.monotonic()
        try:
            made = snapshots.create(self.spec)
        except (OSError, subprocess.CalledProcessError) as error:
            raise JobEndedError(f"snapshot: {error}") from error
        seconds = round(time.monotonic() - started, 3)
        self.report("event", event="snapshot_created", name=made.folder.name, seconds=seconds)
        return made

    def _check_partial(self, index: int) -> None:
        partial = self.spec.fault("partial")
        if partial and index >= partial.disks:
            raise JobEndedError(f"configured to end after {partial.disks} disks")

    def _copy_disk(self, index: int) -> None:
        disk = self.spec.disks[index]
        content = self._snapshot_disk(index)
        url = parse_targets(self.spec.nbd_targets).get(str(disk.key))
        if url is None:
            raise TargetError(f"no NBD target for disk {disk.key}")
        target = parse_url(url)
        export_index = target.disk_index(self.spec.job_id)
        why = self._why_full(content, export_index if self.spec.asks == "own" else 0)
        export = Export(target)
        self._exports.append(export)
        self.gate.start_disk(index)
        source = content.open()
        started = time.monotonic()
        try:
            if why:
                self._start_disk(export_index, disk.key, FULL, why)
                self._full(source, content, export)
            else:
                since = self.control_plane.ask(self.spec.vm_name, export_index)
                self._start_disk(export_index, disk.key, INCREMENTAL, since)
                self._increment(source, content, export, since)
        finally:
            os.close(source)
        export.close_data()
        self.meter.disk_copied()
        seconds = round(time.monotonic() - started, 3)
        self.report("event", event="disk_written", disk=export_index, key=disk.key, seconds=seconds)
        if not self.control_plane.complete(content.change_id, export_index):
            raise JobEndedError(f"complete of disk {export_index} was not answered with 200")

    def _snapshot_disk(self, index: int) -> snapshots.SnapshotDisk:
        if self._snapshot is None:
            raise JobEndedError("no snapshot")
        return self._snapshot.disk(index)

    def _start_disk(self, export_index: int, key: int, sync_type: str, why: str) -> None:
        self.report("event", event="disk_started", disk=export_index, key=key, sync_type=sync_type, why=why)

    def _why_full(self, content: snapshots.SnapshotDisk, asked: int) -> str:
        """Return why a disk is copied in full, "" for an increment. `asked`: the number that it asks with."""
        if parse_change_id(self.control_plane.ask(self.spec.vm_name, asked)) is None:
            return "no change id"
        known = parse_change_id(self.control_plane.ask(self.spec.vm_name, asked))
        own = parse_change_id(content.change_id)
        if known is None or own is None or known[0] != own[0]:
            return "other change UUID"
        return ""

    def _copier(self, source: int, export: Export) -> DiskCopy:
        size = _SMALL_REQUEST if self.gate.needs_small_requests else self.spec.request_bytes
        wait = self.spec.retry_seconds
        exact = self.spec.zeroes == "exact"
        return DiskCopy(
            source,
            export,
            self.meter,
            self.gate,
            self.report,
            request_bytes=size,
            retry_seconds=wait,
            exact_zeroes=exact,
        )

    def _full(self, source: int, content: snapshots.SnapshotDisk, export: Export) -> None:
        self.meter.start_disk(FULL, full_total([disk.virtual_size for disk in self.spec.disks]))
        plan = plan_full(content.virtual_size, self.spec.workers)
        limit = self._half_of(content.virtual_size)
        self._copier(source, export).full([[block for block in blocks if sum(block) <= limit] for blocks in plan])

    def _increment(self, source: int, content: snapshots.SnapshotDisk, export: Export, since: str) -> None:
        areas = merge_areas(content.tracking.areas_since(since, content.tracking.number, content.virtual_size))
        total = sum(length for _, length in areas)
        self.report("event", event="areas", ranges=len(areas), bytes=total)
        self.meter.start_disk(INCREMENTAL, total)
        try:
            self._copier(source, export).increment(self._part_of(areas), self.spec.workers)
        except CopyFailedError as error:
            if not export.is_dead():
                raise
            # Observed on the appliance: an increment never notices that its export is gone.
            self.gate.deadlock(str(error))

    def _half_of(self, virtual_size: int) -> int:
        half = self.spec.fault("half")
        return int(virtual_size * half.fraction) if half and self._applies(half.disk) else virtual_size

    def _part_of(self, areas: list[Area]) -> list[Area]:
        half = self.spec.fault("half")
        if not half or not self._applies(half.disk):
            return areas
        return areas[: int(len(areas) * half.fraction)]

    def _applies(self, disk: int | None) -> bool:
        return self.gate.disk == (disk or 0)


def obey(line: str, gate: Gate) -> None:
    """Carry out one command of the control API."""
    command = json.loads(line)
    match command["command"]:
        case "die":
            gate.die()
        case "pause":
            gate.pause()
        case "resume":
            gate.resume()
        case "rate":
            gate.bytes_per_second = float(command.get("bytes_per_second") or 0)
        case "deadlock":
            threading.Thread(target=gate.deadlock, args=("configured to",), daemon=True).start()


def _watch_stdin(gate: Gate) -> None:
    for line in sys.stdin:
        obey(line, gate)
    os._exit(0)  # the appliance has stopped


def main() -> int:
    """Run one job; the exit code is 0 when all disks are in."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the server's
    report = Reporter(sys.stdout)
    job = Job(JobSpec.from_line(sys.stdin.readline()), report)
    threading.Thread(target=_watch_stdin, args=(job.gate,), daemon=True).start()
    try:
        job.run()
    except JobEndedError as error:
        report("event", event="client_failed", reason=str(error))
        return 1
    report("event", event="job_done")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # without waiting for the idle connections
