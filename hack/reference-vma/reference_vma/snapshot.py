"""Snapshots of a VM: `sbak-…` folders that hold the disks' content as of the start of a job.

A folder's `lock` file stays locked by the client that made it, which tells a running job's snapshot from a leftover.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from reference_vma.cbt import DiskTracking, file_stamp, vm_folder, vm_lock
from reference_vma.spec import DiskSpec, JobSpec

_PREFIX = "sbak-"
_ABANDONED = "abandoned"


class SnapshotGoneError(Exception):
    """Somebody deleted the snapshot that a job reads from."""


@dataclass(frozen=True)
class SnapshotDisk:
    """One disk in a snapshot."""

    path: Path
    virtual_size: int
    tracking: DiskTracking

    @property
    def change_id(self) -> str:
        """Names this snapshot's content in later increments."""
        return self.tracking.change_id

    def open(self) -> int:
        """Return the file descriptor for reading. Raises SnapshotGoneError."""
        try:
            return os.open(self.path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise SnapshotGoneError(str(error)) from error


@dataclass
class Snapshot:
    """A snapshot of all disks of a VM, held by this process."""

    folder: Path
    lock: IO[str]
    disks: list[SnapshotDisk]

    def disk(self, index: int) -> SnapshotDisk:
        """Return the disk at `position` in device order. Raises SnapshotGoneError."""
        if not self.folder.is_dir():
            raise SnapshotGoneError(f"snapshot {self.folder.name} was deleted")
        return self.disks[index]

    def abandon(self) -> None:
        """Mark it as nobody's, although this process lives on (a deadlocked client)."""
        if self.folder.is_dir():
            (self.folder / _ABANDONED).touch()

    def remove(self) -> bool:
        """Delete it; False when somebody else did."""
        if not self.folder.is_dir():
            return False
        shutil.rmtree(self.folder, ignore_errors=True)
        return True


def list_snapshots(scratch_dir: Path, vm_uuid: str) -> list[str]:
    """Return the names of a VM's snapshots."""
    return sorted(folder.name for folder in vm_folder(scratch_dir, vm_uuid).glob(_PREFIX + "*"))


def _is_held(folder: Path) -> bool:
    """Return whether a live client reads from a snapshot."""
    if (folder / _ABANDONED).exists():
        return False
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def delete_all(scratch_dir: Path, vm_uuid: str) -> list[tuple[str, str]]:
    """Delete every snapshot of a VM; job ids and names of those that a running job was reading from."""
    victims = []
    for name in list_snapshots(scratch_dir, vm_uuid):
        folder = vm_folder(scratch_dir, vm_uuid) / name
        if _is_held(folder):
            meta: dict[str, Any] = json.loads((folder / "snapshot.json").read_text())
            victims.append((str(meta["job_id"]), name))
        shutil.rmtree(folder, ignore_errors=True)
    return victims


def _snapshot_disk(job: JobSpec, disk: DiskSpec, folder: Path) -> SnapshotDisk:
    source = Path(disk.path)
    tracking = DiskTracking.load(Path(job.state_dir), job.vm_uuid, disk.key)
    stamp = file_stamp(source)
    content = source
    if job.snapshot != "none":
        content = folder / f"disk-{disk.key}.raw"
        # disk.path is absolute, so it cannot be taken for an option
        subprocess.run(["cp", "--reflink=auto", "--sparse=always", disk.path, str(content)], check=True)
    tracking.record(content, disk.virtual_size, stamp)
    return SnapshotDisk(content, disk.virtual_size, tracking)


def create(job: JobSpec) -> Snapshot:
    """Take a snapshot of all disks. Raises OSError, CalledProcessError."""
    name = f"{_PREFIX}{time.time_ns()}-{os.getpid()}"
    folder = vm_folder(Path(job.scratch_dir), job.vm_uuid) / name
    folder.mkdir(parents=True)
    lock = (folder / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / "snapshot.json").write_text(json.dumps({"job_id": job.job_id, "vm_path": job.vm_path}))
    try:
        with vm_lock(Path(job.state_dir), job.vm_uuid):
            disks = [_snapshot_disk(job, disk, folder) for disk in job.disks]
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Snapshot(folder, lock, disks)
